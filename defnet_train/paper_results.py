"""What the paper reports, as far as it is known here; a number that is not is absent, never guessed.

DEFNet: Multitasks-based Deep Evidential Fusion Network for Blind Image Quality Assessment, arXiv:2507.19418. Targets
rather than promises: the published code mixes photos of a batch where the paper describes fusion (README, departures
10, 14, 16). Means of ten sessions.
"""

from __future__ import annotations

DATASETS = {
    "live": "LIVE",
    "csiq": "CSIQ",
    "kadid10k": "KADID-10k",
    "bid": "BID",
    "clive": "LIVE Challenge",
    "koniq10k": "KonIQ-10k",
}
"""Data set key -> name, in the order of Table 1."""
ZERO_SHOT_DATASETS = {"tid2013": "TID2013", "spaq": "SPAQ", "pipal": "PIPAL"}

SRCC = {"live": 0.978, "csiq": 0.967, "kadid10k": 0.942, "bid": 0.910, "clive": 0.918, "koniq10k": 0.920}
PLCC = {"live": 0.960, "csiq": 0.964, "kadid10k": 0.944, "bid": 0.909, "clive": 0.897, "koniq10k": 0.901}
"""The paper does not say whether a logistic was fitted before."""
ZERO_SHOT_SRCC = {"tid2013": 0.828, "spaq": 0.868, "pipal": 0.464}
SCENE_ACCURACY, DISTORTION_ACCURACY = 0.879, 0.847

ABLATION_SRCC = {("q+s+d", False, False): 0.916}
"""Table 4, mean SRCC by tasks and by the presence of L_U and L_F; fifteen of its sixteen rows are not known here."""
LOSS_WEIGHTS = (0.1, 0.1)
"""Table 5's row that equals Table 1."""

PARAMETERS = {"DEFNet": 84.22e6, "LIQE": 59.02e6}
"""Table 8 as printed. 59,028,480 are the patch embedding and the MLP layers of ViT-B/32 alone, with those of the text
tower 84,225,024: a profiler missed attention, embeddings and norms, and LIQE was counted without its text tower.
CLIP ViT-B/32 has 151,277,313 in truth, for both methods."""
