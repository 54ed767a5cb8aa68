"""Fair comparisons: one recipe, many arms, everything else equal (`ppx compare`).

An arm is a named edit of the recipe (`arms`). Every arm is trained with every seed by the recipe's
own host, and measured by the suites of its `eval:` stage; the untouched base is measured once.

The output folder::

    ppx_study.json          what is compared, for the report (below)
    report.json, .html      what it shows
    scores/                 scores of tokens and built rows, shared by all arms
    runs/base/              the untouched base: ppx_eval.json and ppx_eval/*.parquet (items)
    runs/<arm>-<seed>/      one training: recipe.<host>.yaml (trains it again), log.txt,
                            ppx_state.json, trainer_state.json (its log), ppx_eval.json,
                            ppx_eval/*.parquet, result.json, weights/ (where asked for);
                            failed.json in place of a result where it failed

``ppx_study.json`` (schema 1):

============== ==================================================================================
``kind``       ``comparison`` or ``demo``
``title``      one line
``warnings``   sentences on how it was compared
``study``      `study.dump_study`: every item's result; each arm has the seeds that came through
``stages``     records of builders, samplers and masks, those of each arm's first run, each with
               ``arm``
``examples``   a few questions: ``task``, ``prompt``, ``right``, ``answers`` (arm -> response)
``repeat``     ``command``, ``protocol``, ``seeds``, ``settings`` (the recipe), ``versions``
``comparison`` ``recipe`` (its path), ``host``, ``seeds``, ``arms`` (name -> ``says``, one
               sentence, and ``edit``, lines of what differs from the common recipe), and
               ``lacking`` (``arm``, ``seed``, ``why`` of each run that did not come through)
============== ==================================================================================

`study.analyse` says what is made of it: every pair of arms, Holm's correction, the frontier.
"""
