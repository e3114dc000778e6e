-- Second factors of people, and API keys that people make for themselves.

-- `sealed` is the secret as whoever keeps it sealed it; the store has no key to it.
CREATE TABLE second_factor (
    realm      TEXT NOT NULL,
    name       TEXT NOT NULL,
    sealed     TEXT NOT NULL,
    last_step  INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    PRIMARY KEY (realm, name)
) WITHOUT ROWID;

-- The recovery codes that are left.
CREATE TABLE recovery_code (
    realm TEXT NOT NULL,
    name  TEXT NOT NULL,
    hash  TEXT NOT NULL,
    PRIMARY KEY (realm, name, hash),
    FOREIGN KEY (realm, name) REFERENCES second_factor (realm, name) ON DELETE CASCADE
) WITHOUT ROWID;

-- For whom a key speaks, and when it was used last.
ALTER TABLE api_key ADD COLUMN owner_realm TEXT NOT NULL DEFAULT '';
ALTER TABLE api_key ADD COLUMN owner_name TEXT NOT NULL DEFAULT '';
ALTER TABLE api_key ADD COLUMN used_at INTEGER;
UPDATE api_key SET owner_realm = json_extract(body, '$.owner.realm'),
    owner_name = json_extract(body, '$.owner.name');
CREATE INDEX api_key_owner ON api_key (owner_realm, owner_name, name);
