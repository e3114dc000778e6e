-- Times are whole milliseconds since 1970. A session that nobody owns has empty realm and name.
-- The record itself is JSON; the columns beside it are what is searched for.

CREATE TABLE deployment (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    id  TEXT NOT NULL
);

CREATE TABLE session (
    id           TEXT PRIMARY KEY,
    version      INTEGER NOT NULL,
    realm        TEXT NOT NULL,
    name         TEXT NOT NULL,
    organisation TEXT NOT NULL,
    template     TEXT NOT NULL,
    label        TEXT,
    phase        TEXT NOT NULL,
    live         INTEGER NOT NULL,
    cores        INTEGER NOT NULL,
    memory_mib   INTEGER NOT NULL,
    created_at   INTEGER NOT NULL,
    ready_at     INTEGER,
    ended_at     INTEGER,
    record       TEXT NOT NULL
);
CREATE INDEX session_created ON session (created_at, id);
CREATE INDEX session_live ON session (live, created_at, id);
CREATE INDEX session_owner ON session (realm, name, created_at, id);
CREATE INDEX session_owner_live ON session (realm, name, created_at, id) WHERE live = 1;
CREATE INDEX session_organisation ON session (organisation, created_at, id);
CREATE INDEX session_organisation_live ON session (organisation, created_at, id) WHERE live = 1;
CREATE INDEX session_template ON session (template, created_at, id);
CREATE INDEX session_template_live ON session (template, created_at, id) WHERE live = 1;
CREATE INDEX session_phase ON session (phase, created_at, id);
CREATE INDEX session_label ON session (label, created_at, id) WHERE label IS NOT NULL;
CREATE INDEX session_ended ON session (ended_at) WHERE ended_at IS NOT NULL;
CREATE INDEX session_pooled ON session (template, ready_at) WHERE phase = 'pooled';
CREATE UNIQUE INDEX session_label_live ON session (realm, name, label)
    WHERE live = 1 AND label IS NOT NULL;

-- When a session is due and who holds it: small rows, since they are written most often.
CREATE TABLE due (
    session     TEXT PRIMARY KEY REFERENCES session (id),
    due_at      INTEGER,
    holder      TEXT,
    lease_until INTEGER,
    fence       INTEGER NOT NULL DEFAULT 0,
    wake_at     INTEGER GENERATED ALWAYS AS (COALESCE(lease_until, due_at)) VIRTUAL
) WITHOUT ROWID;
CREATE INDEX due_wake ON due (wake_at) WHERE wake_at IS NOT NULL;

-- The machines that live sessions hold; one of a kind.
CREATE TABLE reservation (
    provisioner TEXT NOT NULL,
    machine     TEXT NOT NULL,
    session     TEXT NOT NULL REFERENCES session (id),
    PRIMARY KEY (provisioner, machine)
) WITHOUT ROWID;
CREATE INDEX reservation_session ON reservation (session);

CREATE TABLE event (
    cursor       INTEGER PRIMARY KEY AUTOINCREMENT,
    at           INTEGER NOT NULL,
    session      TEXT NOT NULL,
    realm        TEXT NOT NULL,
    name         TEXT NOT NULL,
    organisation TEXT NOT NULL,
    body         TEXT NOT NULL
);
CREATE INDEX event_session ON event (session, cursor);
CREATE INDEX event_owner ON event (realm, name, cursor);
CREATE INDEX event_organisation ON event (organisation, cursor);

CREATE TABLE activity (
    session TEXT PRIMARY KEY REFERENCES session (id),
    body    TEXT NOT NULL
) WITHOUT ROWID;

CREATE TABLE idempotency (
    realm   TEXT NOT NULL,
    name    TEXT NOT NULL,
    key     TEXT NOT NULL,
    session TEXT NOT NULL REFERENCES session (id),
    PRIMARY KEY (realm, name, key)
) WITHOUT ROWID;
-- For the foreign key: SQLite looks for children whenever a session is written.
CREATE INDEX idempotency_session ON idempotency (session);

CREATE TABLE api_key (
    name TEXT PRIMARY KEY,
    hash TEXT NOT NULL UNIQUE,
    body TEXT NOT NULL
) WITHOUT ROWID;

-- What is live, counted per scope for the quotas, and per phase for the tally. Kept by triggers, so
-- that no write can forget it.
CREATE TABLE usage (
    scope      TEXT NOT NULL,
    realm      TEXT NOT NULL,
    name       TEXT NOT NULL,
    sessions   INTEGER NOT NULL,
    cores      INTEGER NOT NULL,
    memory_mib INTEGER NOT NULL,
    PRIMARY KEY (scope, realm, name)
) WITHOUT ROWID;

CREATE TABLE phase_count (
    phase    TEXT PRIMARY KEY,
    sessions INTEGER NOT NULL
) WITHOUT ROWID;

CREATE TABLE total (
    one             INTEGER PRIMARY KEY CHECK (one = 1),
    created         INTEGER NOT NULL,
    ended           INTEGER NOT NULL,
    ended_after_ms  INTEGER NOT NULL
);
INSERT INTO total (one, created, ended, ended_after_ms) VALUES (1, 0, 0, 0);

CREATE TRIGGER session_added AFTER INSERT ON session BEGIN
    UPDATE total SET created = created + 1 WHERE one = 1;
    INSERT INTO phase_count (phase, sessions) VALUES (NEW.phase, 1)
        ON CONFLICT (phase) DO UPDATE SET sessions = sessions + 1;
END;

CREATE TRIGGER session_moved AFTER UPDATE OF phase ON session WHEN OLD.phase <> NEW.phase BEGIN
    UPDATE phase_count SET sessions = sessions - 1 WHERE phase = OLD.phase;
    INSERT INTO phase_count (phase, sessions) VALUES (NEW.phase, 1)
        ON CONFLICT (phase) DO UPDATE SET sessions = sessions + 1;
END;

CREATE TRIGGER session_ended AFTER UPDATE OF live ON session WHEN OLD.live = 1 AND NEW.live = 0 BEGIN
    UPDATE total SET ended = ended + 1,
        ended_after_ms = ended_after_ms + MAX(0, COALESCE(NEW.ended_at, NEW.created_at) - NEW.created_at)
        WHERE one = 1;
END;

CREATE TRIGGER session_counted AFTER INSERT ON session WHEN NEW.live = 1 BEGIN
    INSERT INTO usage (scope, realm, name, sessions, cores, memory_mib) VALUES
        ('owner', NEW.realm, NEW.name, 1, NEW.cores, NEW.memory_mib),
        ('organisation', '', NEW.organisation, 1, NEW.cores, NEW.memory_mib),
        ('template', '', NEW.template, 1, NEW.cores, NEW.memory_mib),
        ('all', '', '', 1, NEW.cores, NEW.memory_mib)
        ON CONFLICT (scope, realm, name) DO UPDATE SET
            sessions = sessions + 1,
            cores = cores + excluded.cores,
            memory_mib = memory_mib + excluded.memory_mib;
END;

CREATE TRIGGER session_uncounted
AFTER UPDATE OF live, realm, name, organisation, template, cores, memory_mib ON session
WHEN OLD.live = 1 AND (NEW.live = 0 OR OLD.realm <> NEW.realm OR OLD.name <> NEW.name
    OR OLD.organisation <> NEW.organisation OR OLD.template <> NEW.template
    OR OLD.cores <> NEW.cores OR OLD.memory_mib <> NEW.memory_mib) BEGIN
    UPDATE usage SET sessions = sessions - 1, cores = cores - OLD.cores,
        memory_mib = memory_mib - OLD.memory_mib
        WHERE scope = 'owner' AND realm = OLD.realm AND name = OLD.name;
    UPDATE usage SET sessions = sessions - 1, cores = cores - OLD.cores,
        memory_mib = memory_mib - OLD.memory_mib
        WHERE scope = 'organisation' AND realm = '' AND name = OLD.organisation;
    UPDATE usage SET sessions = sessions - 1, cores = cores - OLD.cores,
        memory_mib = memory_mib - OLD.memory_mib
        WHERE scope = 'template' AND realm = '' AND name = OLD.template;
    UPDATE usage SET sessions = sessions - 1, cores = cores - OLD.cores,
        memory_mib = memory_mib - OLD.memory_mib
        WHERE scope = 'all' AND realm = '' AND name = '';
END;

CREATE TRIGGER session_recounted
AFTER UPDATE OF live, realm, name, organisation, template, cores, memory_mib ON session
WHEN NEW.live = 1 AND (OLD.live = 0 OR OLD.realm <> NEW.realm OR OLD.name <> NEW.name
    OR OLD.organisation <> NEW.organisation OR OLD.template <> NEW.template
    OR OLD.cores <> NEW.cores OR OLD.memory_mib <> NEW.memory_mib) BEGIN
    INSERT INTO usage (scope, realm, name, sessions, cores, memory_mib) VALUES
        ('owner', NEW.realm, NEW.name, 1, NEW.cores, NEW.memory_mib),
        ('organisation', '', NEW.organisation, 1, NEW.cores, NEW.memory_mib),
        ('template', '', NEW.template, 1, NEW.cores, NEW.memory_mib),
        ('all', '', '', 1, NEW.cores, NEW.memory_mib)
        ON CONFLICT (scope, realm, name) DO UPDATE SET
            sessions = sessions + 1,
            cores = cores + excluded.cores,
            memory_mib = memory_mib + excluded.memory_mib;
END;
