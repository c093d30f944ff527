"""The report: static pages of tables, pictures, outputs and runs, made by `make report`."""
