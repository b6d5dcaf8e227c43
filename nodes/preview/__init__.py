"""The live token map: the one route that the front end asks, and where its pictures come from. It imports no node."""
