"""graspologic as a process that waits for jobs; run by the interpreter of its own environment.

A job is a line of standard input, as a JSON object; one JSON object on standard output for each.
Matrices and labels travel through ``.npz`` files.  Jobs (``op``):

* ``fit``: blocks of the sparse matrix in ``matrix``.  Rows and columns are the vertices of one
  bipartite graph; their spectral embedding is clustered by a Gaussian mixture, rows and columns
  each by themselves.  ``blocks`` is how many there are on each side, or null: then the library
  chooses the dimension by its elbows and the number of blocks by BIC, up to ``most``.  ``signed``
  takes the adjacency matrix, as weights have signs, otherwise its normalised Laplacian is
  embedded.  Labels go to ``labels``; answers with seconds and the process's peak memory, or with
  the problem.
* ``version``.
"""

from __future__ import annotations

import contextlib
import json
import resource
import sys
import time
import warnings


def fit(job: dict) -> dict:
    import numpy as np
    import scipy.sparse

    matrix = scipy.sparse.csr_array(scipy.sparse.load_npz(job["matrix"]))
    start = time.monotonic()
    try:
        rows, columns = blocks_of(matrix, job["blocks"], job["most"], job["signed"])
    except Exception as problem:
        return {"problem": f"{type(problem).__name__}: {problem}"[:100]}
    seconds = time.monotonic() - start
    np.savez(job["labels"], rows=rows, columns=columns)
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    return {"seconds": seconds, "gib": memory}


def blocks_of(matrix, blocks, most, signed):
    import scipy.sparse
    from graspologic.cluster import GaussianCluster
    from graspologic.embed import AdjacencySpectralEmbed, LaplacianSpectralEmbed

    graph = scipy.sparse.block_array([[None, matrix], [matrix.T, None]]).tocsr()
    # Each singular value of the matrix is one of the graph twice.
    settings = {"n_components": blocks and 2 * blocks, "svd_seed": 0}
    if signed:
        embed = AdjacencySpectralEmbed(diag_aug=False, **settings)
    else:
        embed = LaplacianSpectralEmbed(**settings)
    places = embed.fit_transform(graph)
    labels = []
    for side in (places[: matrix.shape[0]], places[matrix.shape[0] :]):
        mixture = GaussianCluster(blocks or 1, blocks or most, random_state=0)
        labels.append(mixture.fit_predict(side))
    return labels


def version(job: dict) -> dict:
    from importlib.metadata import version

    import graspologic.cluster  # what takes long to import is not the first job's time
    import graspologic.embed  # noqa: F401

    return {"version": version("graspologic")}


def main() -> None:
    answers = sys.stdout
    warnings.simplefilter("ignore")
    for line in sys.stdin:
        job = json.loads(line)
        with contextlib.redirect_stdout(sys.stderr):
            answer = {"fit": fit, "version": version}[job["op"]](job)
        print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    main()
