-- The audit log. `body` is what is hashed and verified; the columns beside it are for searching.
CREATE TABLE audit_entry (
    place   INTEGER PRIMARY KEY AUTOINCREMENT,
    writer  TEXT NOT NULL,
    number  INTEGER NOT NULL,
    at      INTEGER NOT NULL,
    owner   TEXT,
    session TEXT,
    act     TEXT NOT NULL,
    body    TEXT NOT NULL,
    UNIQUE (writer, number)
);
CREATE INDEX audit_session ON audit_entry (session) WHERE session IS NOT NULL;
CREATE INDEX audit_owner ON audit_entry (owner) WHERE owner IS NOT NULL;
CREATE INDEX audit_act ON audit_entry (act);

-- The newest entry of each chain, and up to where an entry of another one vouches for it.
CREATE TABLE audit_chain (
    writer TEXT PRIMARY KEY,
    first  INTEGER NOT NULL,
    number INTEGER NOT NULL,
    hash   TEXT NOT NULL,
    linked INTEGER NOT NULL DEFAULT 0
) WITHOUT ROWID;

CREATE TABLE audit_head (
    place  INTEGER PRIMARY KEY AUTOINCREMENT,
    writer TEXT NOT NULL,
    number INTEGER NOT NULL,
    body   TEXT NOT NULL
);
CREATE INDEX audit_head_writer ON audit_head (writer, number);

CREATE TRIGGER audit_entry_kept BEFORE UPDATE ON audit_entry BEGIN
    SELECT RAISE(ABORT, 'an audit entry is never changed');
END;

-- For the pages of operators, which show everybody's.
CREATE INDEX sign_in_created ON sign_in (created_at, id);
