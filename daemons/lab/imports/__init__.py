"""Labs of other programs -> a lab of ours, as far as that goes, and a report of what did not go.

Pure: text in, a Topo and a Report out. `reading.py` is the door. Each format has a file; `building.py` and
`finishing.py` know what a lab of ours can be, `commands.py` what `ip addr add` and the like mean, `cleaning.py` which
names we can have.
Nothing that stands in a file is run, evaluated, looked up or opened.
"""
