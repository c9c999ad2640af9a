"""The data doctor: what is wrong with a suite's rows and prompts before anybody pays for a tune."""
