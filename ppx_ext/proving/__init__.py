"""Recipes proved without their models: `ppx recipes check` and `ppx recipes smoke`.

``published/`` holds, of each model that recipes name, its ``config.json``, its special tokens and
its chat template (as it renders chats of text), so that both can be done offline.
"""
