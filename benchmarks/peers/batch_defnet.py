"""Our scores of photos one by one, all in one run, in reverse order, and in one batch of the exported graph itself."""

from __future__ import annotations

import numpy as np
import onnxruntime
import report

from defnet_infer import Scorer, photos, views

REPEATS = 5


def main() -> None:
    given = report.arguments(__doc__, "model", "photos")
    paths = report.photos_of(given.photos)
    scorer = Scorer(given.model, device="cpu")
    alone = [next(scorer.score([path])).score for path in paths]
    reversed_back = [row.score for row in scorer.score(paths[::-1])][::-1]
    session = onnxruntime.InferenceSession(given.model, providers=["CPUExecutionProvider"])
    made = [views.make(photos.decode(path).image, scorer.artifact.contract.preprocess) for path in paths]
    batch = {"crops": np.stack([one.crops for one in made]), "overview": np.stack([one.overview for one in made])}
    feed = {tensor.name: batch[tensor.name] for tensor in session.get_inputs()}
    report.write(
        given.out,
        alone=alone,
        together=[row.score for row in scorer.score(paths)],
        reversed=reversed_back,
        repeated=[row.score for row in scorer.score([paths[0]] * REPEATS)],
        one_call=session.run(["score"], feed)[0].tolist(),
    )


if __name__ == "__main__":
    main()
