-- Sign-ins of people, by the hash of the token in their browser.
CREATE TABLE sign_in (
    id         TEXT PRIMARY KEY,
    hash       TEXT NOT NULL UNIQUE,
    realm      TEXT NOT NULL,
    name       TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    seen_at    INTEGER NOT NULL,
    ends_at    INTEGER NOT NULL,
    -- As it was made; `seen_at` is the column's.
    body       TEXT NOT NULL
) WITHOUT ROWID;
CREATE INDEX sign_in_owner ON sign_in (realm, name, created_at);
CREATE INDEX sign_in_ends ON sign_in (ends_at);
CREATE INDEX sign_in_seen ON sign_in (seen_at);
