"""The data sets that have an official release: one table of their facts."""

from __future__ import annotations

from defnet_train.datasets.authentic import (
    BID_TABLES,
    SPAQ_TABLES,
    read_bid,
    read_koniq10k,
    read_live_challenge,
    read_spaq,
)
from defnet_train.datasets.distorted import (
    CSIQ_TABLES,
    read_csiq,
    read_kadid10k,
    read_live,
    read_pipal,
    read_tid2013,
)
from defnet_train.datasets.release import Release

RELEASES = {
    release.key: release
    for release in (
        Release(
            key="live", name="LIVE", source="distorted", photos=779, references=29, liqe=True,
            # The range that differences from the worst score span in the release.
            better="lower", scale=(0, 114.4147),
            folders=("databaserelease2", "live"),
            markers=("dmos_realigned.mat", "refnames_all.mat"),
            read=read_live,
        ),
        Release(
            key="csiq", name="CSIQ", source="distorted", photos=866, references=30, liqe=True,
            better="lower", worst=1, scale=(0, 1),
            folders=("CSIQ",),
            markers=("csiq.DMOS.xlsx", *CSIQ_TABLES),
            read=read_csiq,
        ),
        Release(
            key="bid", name="BID", source="authentic", photos=586, liqe=True,
            scale=(0, 5),
            folders=("BID",),
            markers=BID_TABLES,
            read=read_bid,
        ),
        Release(
            key="clive", name="LIVE Challenge", source="authentic", photos=1162, liqe=True,
            scale=(0, 100),
            folders=("ChallengeDB_release", "clive", "livec"),
            markers=("Data/AllImages_release.mat", "Data/AllMOS_release.mat"),
            read=read_live_challenge,
        ),
        Release(
            key="koniq10k", name="KonIQ-10k", source="authentic", photos=10073, liqe=True,
            scale=(1, 5),
            folders=("koniq-10k", "koniq10k"),
            markers=("koniq10k_scores_and_distributions.csv",),
            read=read_koniq10k,
        ),
        Release(
            key="kadid10k", name="KADID-10k", source="distorted", photos=10125, references=81, liqe=True,
            scale=(1, 5),
            folders=("kadid10k", "kadid-10k"),
            markers=("dmos.csv",),
            read=read_kadid10k,
        ),
        Release(
            key="tid2013", name="TID2013", source="distorted", photos=3000, references=25,
            scale=(0, 9), any_case=True,
            folders=("tid2013",),
            markers=("mos_with_names.txt",),
            read=read_tid2013,
        ),
        Release(
            key="spaq", name="SPAQ", source="authentic", photos=11125,
            scale=(0, 100),
            folders=("SPAQ",),
            markers=SPAQ_TABLES,
            read=read_spaq,
        ),
        Release(
            key="pipal", name="PIPAL", source="distorted", photos=23200, references=200,
            scale=None,
            folders=("PIPAL",),
            markers=("Train_Label",),
            read=read_pipal,
        ),
    )
}  # fmt: skip
"""By the key that `data.sets` uses. The first six are those of the paper; the last three are for zero-shot tests."""
