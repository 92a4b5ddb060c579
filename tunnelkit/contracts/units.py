"""What single values of the contracts mean: ids, times and ports (no I/O).

Every id is a UUID as text, in lower case with hyphens.  Each kind has a type of its own, so that a
type checker sees it when an environment is given where a workload is wanted.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, NewType, TypeAlias

from msgspec import Meta

__all__ = [
    "CatalogId",
    "CatalogWorkloadId",
    "ClusterId",
    "EnvironmentId",
    "InterceptId",
    "NamespaceId",
    "OrgId",
    "Port",
    "PrebuildId",
    "PreviewUrlId",
    "ProjectId",
    "ServiceId",
    "SessionId",
    "Time",
    "UserId",
    "WorkloadId",
    "WorkspaceId",
]

Port: TypeAlias = Annotated[int, Meta(ge=1, le=65535)]
"""A TCP or UDP port."""

Time: TypeAlias = Annotated[datetime, Meta(tz=True)]
"""A moment, as RFC 3339 text on the wire; one without a zone is refused."""

OrgId = NewType("OrgId", str)
UserId = NewType("UserId", str)
SessionId = NewType("SessionId", str)
ClusterId = NewType("ClusterId", str)
NamespaceId = NewType("NamespaceId", str)
CatalogId = NewType("CatalogId", str)
CatalogWorkloadId = NewType("CatalogWorkloadId", str)
EnvironmentId = NewType("EnvironmentId", str)
WorkloadId = NewType("WorkloadId", str)
ServiceId = NewType("ServiceId", str)
InterceptId = NewType("InterceptId", str)
PreviewUrlId = NewType("PreviewUrlId", str)
WorkspaceId = NewType("WorkspaceId", str)
ProjectId = NewType("ProjectId", str)
PrebuildId = NewType("PrebuildId", str)
