"""A collective over processes: every rank ends up with the sum of what all ranks had (a ring over pipes)."""

from __future__ import annotations

import multiprocessing


def _rank(values, left, right, results, number, ranks):
    total, passing = list(values), list(values)
    for _step in range(ranks - 1):
        right.send(passing)
        passing = left.recv()
        total = [x + y for x, y in zip(total, passing, strict=True)]
    results.put((number, total))


def all_reduce(vectors, start_method="spawn", timeout=60.0):
    """Start one process a vector and return what each of them holds afterwards.

    Raises ValueError if the vectors differ in length, TimeoutError if a rank does not answer.
    """
    if len({len(vector) for vector in vectors}) != 1:
        raise ValueError("all ranks need vectors of one length")
    context = multiprocessing.get_context(start_method)
    ranks = len(vectors)
    pipes = [context.Pipe(duplex=False) for _ in range(ranks)]
    results = context.Queue()
    processes = [
        context.Process(
            target=_rank,
            args=(vector, pipes[number][0], pipes[(number + 1) % ranks][1], results, number, ranks),
        )
        for number, vector in enumerate(vectors)
    ]
    for process in processes:
        process.start()
    try:
        held = dict(results.get(timeout=timeout) for _ in range(ranks))
    finally:
        for process in processes:
            process.join(timeout)
            if process.is_alive():
                process.kill()
                process.join()
        results.close()
        for reader, writer in pipes:
            reader.close()
            writer.close()
    return [held[number] for number in range(ranks)]
