"""The commands of `ppx`, by what they are about; `ppx_ext.cli` puts them together."""
