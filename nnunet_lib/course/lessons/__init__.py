"""The arithmetic of the lessons' claims, one module a lesson, so that tests can call it."""
