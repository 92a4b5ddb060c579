"""One stream over stdin and stdout: ``python -m tunnelkit.connect TARGET@PEER``.

How it works
------------
`__main__` reads the settings and turns an ending into an exit status.  `call` opens a session with
the peer and a stream to the target, and splices the stream with the two descriptors; then it waits
until both directions are over and the peer has received everything.  `descriptors` makes one pipe
of the two descriptors, whatever they are (`sides`), so that all bytes go through the pump and no
task is involved.

Links may break and brokers may restart meanwhile: the session resumes, as any other.
"""

from .call import Call, Ending, Exit
from .descriptors import DescriptorPipe, take_over

__all__ = ["Call", "DescriptorPipe", "Ending", "Exit", "take_over"]
