"""Protocol-true simulators of the providers' own APIs, for demos, tests and benchmarks.

One process speaks one family. `server` owns the sockets, `playback` turns an answer and its faults into steps on the
wire, and a dialect (`openai`, and its siblings in `registry`) is pure: a request in, an answer out. Everything a
simulator says is marked as simulated.
"""
