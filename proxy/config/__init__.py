"""Configuration: one YAML file in, one frozen `Settings` out, or everything that is wrong with it at once.

`load` is the way in. On it: text and lines (`yaml_lines`), references (`environment`), shape (`schema`, which alone
knows pydantic, over `values` and `places`), what keys say about each other (`consistency`), and `build`.
"""
