"""Recipes proved without their models: `ppx recipes check` and `ppx recipes smoke`.

``published/`` holds, of each model that recipes name, its ``config.json``, its special tokens and
its chat template (as it renders chats of text; a test holds it to the hosts' copies), so that both
can be done offline.
"""
