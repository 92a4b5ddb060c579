"""The dashboard, and other programs of the system, call the API over HTTPS (no I/O).

One service, written down by area.  Each method is about the organisation that it names: whoever is
no member of it gets FORBIDDEN, and so does who may not change what the method changes.  What the
arguments name and is not there, or belongs to another organisation, is NOT_FOUND.
"""

from __future__ import annotations

from .catalogs import CatalogMethods
from .clusters import ClusterMethods
from .devbox import DevboxMethods
from .environments import EnvironmentMethods
from .namespaces import NamespaceMethods
from .previews import PreviewMethods
from .workloads import WorkloadMethods

__all__ = ["HrpcService"]


# The last base is read first: its methods stand first in every list.
class HrpcService(
    PreviewMethods,
    NamespaceMethods,
    WorkloadMethods,
    EnvironmentMethods,
    CatalogMethods,
    ClusterMethods,
    DevboxMethods,
    name="hrpc",
):
    """The dashboard calls the API, as whoever is logged in."""
