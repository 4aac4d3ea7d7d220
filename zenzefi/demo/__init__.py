"""A small upstream site with the features of real web applications.

It is the default upstream of a gate without one, and an upstream for tests: each page uses one
feature of web applications that a gate can break.
"""

from zenzefi.demo.serving import running_demo
from zenzefi.demo.site import create_demo_app

__all__ = ["create_demo_app", "running_demo"]
