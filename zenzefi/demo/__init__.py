"""A small upstream site that uses everything a real one does.

It is the bundled upstream of a gate that has none yet, and the product's own test field: every
page here shows one thing that real web applications do and that a gate can get wrong.
"""

from zenzefi.demo.serving import running_demo
from zenzefi.demo.site import create_demo_app

__all__ = ["create_demo_app", "running_demo"]
