"""Create, inspect, update and roll back the RunPod endpoint; plan its capacity and cost.

Nothing is kept on this machine: the endpoint is found by its name, and its history of releases is the
platform's own, so that whoever holds the API key can roll back from anywhere.
"""
