"""Asks Godwit as psycopg 3 does: `python asks.py PORT TOKEN`. Every line is a promise; the first broken one ends it."""

import datetime
import sys

import psycopg
from psycopg import errors

port, token = sys.argv[1:]
WHERE = f"host=127.0.0.1 port={port} user=local dbname=godwit password={token}"
UTC = datetime.timezone.utc


def refused(kind, work):
    try:
        work()
    except kind as error:
        return error
    raise AssertionError(f"{kind.__name__} was expected")


with psycopg.connect(WHERE, autocommit=True) as c:
    # Prepared on the server, asked again and again with other values.
    for device, expected in [("d0", 50), ("d1", 50), ("nobody", 0)]:
        got = c.execute("SELECT count(*) FROM readings WHERE device = %s AND channel = 'co2'", [device], prepare=True)
        assert got.fetchone() == (expected,), device
    assert c.execute("SELECT count(*) FROM readings WHERE value >= %s", [449], prepare=True).fetchone() == (51,)

    # Values in text and in binary, both ways; a moment is a moment with its zone.
    start = datetime.datetime(2025, 11, 22, tzinfo=UTC)
    for binary in [False, True]:
        for parameters in ["%s, %s, %s", "%b, %b, %b", "%t, %t, %t"]:
            a, b, d = parameters.split(", ")
            text = f"SELECT time, device, value, flags FROM readings WHERE time = {a} AND value < {b} AND device = {d}"
            cursor = c.cursor(binary=binary)
            rows = cursor.execute(text, [start, 1000.5, "d0"]).fetchall()
            assert len(rows) == 2, (binary, parameters, rows)
            assert rows[0][:2] == (start, "d0") and isinstance(rows[0][2], float), rows
            kinds = [column.type_code for column in cursor.description]
            assert kinds == [1184, 25, 701, 23], f"timestamptz, text, float8, int4: {kinds}"
        types = "SELECT 1::smallint, 2::int, 3::bigint, 1.5::real, true, 'x'::text, DATE '2025-03-30', NULL::text"
        row = c.cursor(binary=binary).execute(types).fetchone()
        assert row == (1, 2, 3, 1.5, True, "x", datetime.date(2025, 3, 30), None), row
    assert c.execute("SELECT %s::text || %s::text", ["a", "b"]).fetchone() == ("ab",)
    assert c.execute("SELECT 0.1::float8, 1e300::float8").fetchone() == (0.1, 1e300)

    # What drivers say around questions.
    c.execute("SET application_name = 'test'")
    assert c.execute("SHOW application_name").fetchone() == ("test",)
    assert c.execute("SELECT current_setting('application_name')").fetchone() == ("test",)
    assert c.execute("SELECT current_user").fetchone() == ("local",)
    refused(errors.UndefinedObject, lambda: c.execute("SET no_such_thing = 1"))
    error = refused(errors.InvalidParameterValue, lambda: c.execute("SET TIME ZONE 'Europe/Berlni'"))
    assert "Europe/Berlin" in str(error), error

    # Refused, each with its state, and the connection lives on.
    for statement in ["DROP TABLE readings", "CREATE TABLE x AS SELECT 1", "INSERT INTO readings VALUES (1)",
                      "COPY readings TO '/tmp/x.csv'", "SELECT 1; DROP TABLE readings", "PREPARE p AS SELECT 1"]:
        error = refused(errors.ReadOnlySqlTransaction, lambda: c.execute(statement))
        assert error.diag.message_hint, statement
        if ";" not in statement:
            refused(errors.ReadOnlySqlTransaction, lambda: c.execute(statement, prepare=True))
    error = refused(errors.UndefinedColumn, lambda: c.execute("SELECT vlaue FROM readings"))
    assert "`value`" in error.diag.message_hint and error.diag.statement_position == "8", error.diag
    refused(errors.UndefinedTable, lambda: c.execute("SELECT 1 FROM reading"))
    refused(errors.UndefinedFunction, lambda: c.execute("SELECT avgg(value) FROM readings"))
    refused(errors.SyntaxError, lambda: c.execute("SELEC 1"))
    refused(errors.SyntaxError, lambda: c.execute("SELECT 1; SELECT 2", prepare=True))
    assert c.execute("SELECT 1").fetchone() == (1,)

# A transaction that failed hears nothing until it ends.
with psycopg.connect(WHERE) as c:
    refused(errors.UndefinedTable, lambda: c.execute("SELECT 1 FROM reading"))
    refused(errors.InFailedSqlTransaction, lambda: c.execute("SELECT 1"))
    c.rollback()
    assert c.execute("SELECT 1").fetchone() == (1,)

    # A cursor on the server: rows come by the dozen.
    with c.cursor(name="some") as cursor:
        cursor.itersize = 12
        cursor.execute("SELECT time, value FROM readings WHERE channel = 'co2' ORDER BY time")
        rows = list(cursor)
        assert len(rows) == 100 and rows[0][0] == start and rows[99][1] == 499.0, len(rows)
    with c.cursor(name="part") as cursor:
        cursor.execute("SELECT value FROM readings WHERE channel = %s ORDER BY time", ["co2"])
        assert cursor.fetchmany(3) == [(400.0,), (401.0,), (402.0,)]
    refused(errors.InvalidCursorName, lambda: c.execute("FETCH 1 FROM part"))

# Cancelled while it runs.
with psycopg.connect(WHERE, autocommit=True) as c:
    import threading

    threading.Timer(0.5, c.cancel_safe).start()
    heavy = "SELECT count(*) FROM readings a, readings b, readings c, readings d WHERE a.value + b.value > c.value + d.value"
    refused(errors.QueryCanceled, lambda: c.execute(heavy))
    c.execute("SET statement_timeout = '300ms'")
    refused(errors.QueryCanceled, lambda: c.execute(heavy))
    c.execute("RESET statement_timeout")
    assert c.execute("SELECT 1").fetchone() == (1,)

# An unknown name and a wrong password look alike.
said = []
for name, word in [("local", "wrong"), ("nobody", token)]:
    error = refused(psycopg.OperationalError, lambda: psycopg.connect(WHERE, user=name, password=word))
    said.append(str(error).split("FATAL:")[1].splitlines()[0].replace(name, "X"))
assert said[0] == said[1] and "failed for user" in said[0], said

# Under TLS.
with psycopg.connect(WHERE, sslmode="require") as c:
    assert c.pgconn.ssl_in_use
    assert c.execute("SELECT count(*) FROM latest").fetchone() == (4,)

print("done")
