"""The functionals under test, each with what is known of it."""
