"""One module for each framework: ``make(stage)`` is an app with the pages that test_frameworks.py asks for."""
