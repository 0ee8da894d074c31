"""Checks a Qdrant-compatible gRPC endpoint with the official Python client.

Usage: python_client.py http://127.0.0.1:6334
Needs `pip install qdrant-client`. Creates, fills, filters, searches, scrolls, counts and deletes a
collection of its own; exits non-zero with the first expectation that does not hold.
"""

import math
import sys
from urllib.parse import urlparse

from grpc import RpcError, StatusCode
from qdrant_client import QdrantClient
from qdrant_client import models as m

NAME = "python_client_check"
SIZE = 4
SPIKE = "550e8400-e29b-41d4-a716-446655440000"


def fill(client):
    client.create_collection(NAME, vectors_config=m.VectorParams(size=SIZE, distance=m.Distance.COSINE))
    assert client.collection_exists(NAME)
    assert NAME in [c.name for c in client.get_collections().collections]
    client.create_payload_index(NAME, "anomaly_type", m.PayloadSchemaType.KEYWORD)
    points = [
        m.PointStruct(
            id=number,
            vector=[1.0, number / 10, 0.0, 0.0],
            payload={
                "anomaly_type": "MEMORY_LEAK" if number % 2 else "LATENCY_SPIKE",
                "mttr_minutes": number,
                "tags": ["even" if number % 2 == 0 else "odd", "all"],
                "meta": {"team": "payments"},
            },
        )
        for number in range(1, 21)
    ]
    result = client.upsert(NAME, points, wait=True)
    assert result.status == m.UpdateStatus.COMPLETED, result
    client.upsert(NAME, [m.PointStruct(id=SPIKE, vector=[0, 0, 3, 4], payload={"text": "unique"})])
    info = client.get_collection(NAME)
    assert info.points_count == 21 and info.config.params.vectors.size == SIZE, info
    assert info.payload_schema["anomaly_type"].points == 20, info.payload_schema


def search(client):
    query = [1.0, 0.5, 0.0, 0.0]
    found = client.query_points(NAME, query=query, limit=3, with_payload=True, with_vectors=True).points
    assert found[0].id == 5 and abs(found[0].score - 1.0) < 1e-6, found
    assert {found[1].id, found[2].id} == {4, 6}, found
    assert found[0].payload["meta"] == {"team": "payments"}, found[0].payload
    assert abs(math.hypot(*found[0].vector) - 1.0) < 1e-6, found[0].vector
    leak = m.Filter(must=[m.FieldCondition(key="anomaly_type", match=m.MatchValue(value="MEMORY_LEAK"))])
    found = client.query_points(NAME, query=query, query_filter=leak, limit=50, with_payload=["mttr_minutes"])
    assert sorted(p.id for p in found.points) == list(range(1, 20, 2)), found
    assert all(list(p.payload) == ["mttr_minutes"] for p in found.points), found
    found = client.query_points(NAME, query=[0, 0, 0.6, 0.8], score_threshold=0.9).points
    assert [p.id for p in found] == [SPIKE] and found[0].payload == {"text": "unique"}, found
    batch = client.query_batch_points(NAME, [m.QueryRequest(query=query, limit=1, offset=1)] * 2)
    assert [len(r.points) for r in batch] == [1, 1] and batch[0].points[0].id != 5, batch


def filters(client):
    def count(**groups):
        return client.count(NAME, count_filter=m.Filter(**groups), exact=True).count

    field = m.FieldCondition
    assert client.count(NAME).count == 21
    assert count(must=[field(key="mttr_minutes", range=m.Range(gt=5, lte=8))]) == 3
    assert count(must=[field(key="mttr_minutes", match=m.MatchAny(any=[1, 2, 99]))]) == 2
    assert count(must=[field(key="tags", match=m.MatchValue(value="even"))]) == 10
    assert count(must=[field(key="meta.team", match=m.MatchAny(any=["payments", "x"]))]) == 20
    assert count(must=[m.HasIdCondition(has_id=[1, SPIKE, 500])]) == 2
    assert count(must=[m.IsEmptyCondition(is_empty=m.PayloadField(key="anomaly_type"))]) == 1
    odd = field(key="tags", match=m.MatchValue(value="odd"))
    assert count(must_not=[odd]) == 11
    assert count(should=[odd, m.HasIdCondition(has_id=[2])]) == 11


def read_and_delete(client):
    seen, offset = [], None
    while True:
        page, offset = client.scroll(NAME, limit=6, offset=offset)
        seen += [p.id for p in page]
        if offset is None:
            break
    assert seen == list(range(1, 21)) + [SPIKE], seen
    assert [p.id for p in client.retrieve(NAME, [3, SPIKE, 500])] == [3, SPIKE]
    client.delete(NAME, points_selector=[1, 2])
    assert client.count(NAME).count == 19
    client.delete(NAME, points_selector=m.Filter(must=[m.IsEmptyCondition(is_empty=m.PayloadField(key="text"))]))
    assert client.count(NAME).count == 1


def refusals(client):
    def status(call):
        try:
            call()
        except RpcError as error:
            return error.code()
        raise AssertionError("the call was accepted")

    wrong = [m.PointStruct(id=1, vector=[1.0], payload={})]
    assert status(lambda: client.upsert(NAME, wrong)) == StatusCode.INVALID_ARGUMENT
    assert status(lambda: client.count("no_such_collection")) == StatusCode.NOT_FOUND
    assert status(lambda: client.get_aliases()) == StatusCode.UNIMPLEMENTED


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    url = urlparse(sys.argv[1])
    client = QdrantClient(
        host=url.hostname, grpc_port=url.port or 6334, https=url.scheme == "https",
        prefer_grpc=True, check_compatibility=False, timeout=30,
    )
    client.delete_collection(NAME)
    try:
        for step in (fill, search, filters, read_and_delete, refusals):
            step(client)
            print(f"ok   {step.__name__}")
    finally:
        client.delete_collection(NAME)
    assert not client.collection_exists(NAME)
    print("ok   delete_collection")


if __name__ == "__main__":
    main()
