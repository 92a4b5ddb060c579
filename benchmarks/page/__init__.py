"""`python -m benchmarks page`: the tables and plots of docs/performance.md, made of results files.

`tables` writes Markdown; `svg`, `scale` and `panel` draw lines and bars; `pictures` says which
plots there are, `parts` which parts the page has, `words` how subjects are called; `command` is
what a user calls.  Nothing here measures, and nothing but `command` touches a file: a test makes
page and plots anew from the committed results and compares.
"""
