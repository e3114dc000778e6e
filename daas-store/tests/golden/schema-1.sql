PRAGMA foreign_keys=OFF;
BEGIN TRANSACTION;
CREATE TABLE _sqlx_migrations (
    version BIGINT PRIMARY KEY,
    description TEXT NOT NULL,
    installed_on TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP,
    success BOOLEAN NOT NULL,
    checksum BLOB NOT NULL,
    execution_time BIGINT NOT NULL
);
INSERT INTO _sqlx_migrations VALUES(1,'sessions','2026-11-21 13:16:22',1,X'048c9eceaf56549638b5c4998ebda6c06fcaddd3bc6fb36276b1e679de985b64a7bd22ceca621e6650d537c0007bb7cb',24698971);
CREATE TABLE deployment (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    id  TEXT NOT NULL
);
INSERT INTO deployment VALUES(1,'9f9vsd9pyx');
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
INSERT INTO session VALUES('desktop-aaaaaaa',2,'lab','alice','default','lab',NULL,'ended',0,2,2048,1800000000000,NULL,1800000000000,'{"id":"desktop-aaaaaaa","version":2,"organisation":"default","owner":{"realm":"lab","name":"alice"},"label":null,"template":{"name":"lab","title":"","organisations":[],"os":"linux","provisioner":"fake","source":"image","clone":"auto","storage":null,"pool":null,"cores":2,"memory_mib":2048,"disk_gib":null,"network":null,"address_from":"agent","ready_when":"rdp","ports":{"rdp":3389,"ssh":22},"configurator":null,"profile":null,"admin_user":"root","keyboard":null,"locale":null,"lifetime":"ephemeral","idle":{"first_connection":"10m","disconnected":"1m","idle":"30m","lifetime_max":null,"silence":"2h","warning":"2m","report_period":"30s"},"creation_deadline":"15m"},"lifetime":"ephemeral","goal":"running","phase":"ended","reason":"done","created_at":"2027-01-15T08:00:00Z","updated_at":"2027-01-15T08:00:00Z","not_before":null,"not_after":null,"started_at":null,"ready_at":null,"ended_at":"2027-01-15T08:00:00Z","outcome":null,"extension":"0s","reservation":null,"past_reservations":[],"seen":false,"address":null,"account":null,"prepared":false,"assigned":false,"facts":{"host_key":null,"rdp_certificate":null},"ledger":[],"restarts":{"wanted":0,"done":0},"attempts":{"failed":0,"next_at":null,"last_error":null},"power_off_since":null,"evidence":null,"token_generation":1,"snapshots":[]}');
INSERT INTO session VALUES('desktop-bbbbbbb',2,'lab','alice','default','lab',NULL,'ended',0,2,2048,1800000100000,NULL,1800000100000,'{"id":"desktop-bbbbbbb","version":2,"organisation":"default","owner":{"realm":"lab","name":"alice"},"label":null,"template":{"name":"lab","title":"","organisations":[],"os":"linux","provisioner":"fake","source":"image","clone":"auto","storage":null,"pool":null,"cores":2,"memory_mib":2048,"disk_gib":null,"network":null,"address_from":"agent","ready_when":"rdp","ports":{"rdp":3389,"ssh":22},"configurator":null,"profile":null,"admin_user":"root","keyboard":null,"locale":null,"lifetime":"ephemeral","idle":{"first_connection":"10m","disconnected":"1m","idle":"30m","lifetime_max":null,"silence":"2h","warning":"2m","report_period":"30s"},"creation_deadline":"15m"},"lifetime":"ephemeral","goal":"running","phase":"ended","reason":"done","created_at":"2027-01-15T08:01:40Z","updated_at":"2027-01-15T08:01:40Z","not_before":null,"not_after":null,"started_at":null,"ready_at":null,"ended_at":"2027-01-15T08:01:40Z","outcome":null,"extension":"0s","reservation":null,"past_reservations":[],"seen":false,"address":null,"account":null,"prepared":false,"assigned":false,"facts":{"host_key":null,"rdp_certificate":null},"ledger":[],"restarts":{"wanted":0,"done":0},"attempts":{"failed":0,"next_at":null,"last_error":null},"power_off_since":null,"evidence":null,"token_generation":1,"snapshots":[]}');
INSERT INTO session VALUES('desktop-ccccccc',1,'lab','alice','default','lab',NULL,'queued',1,2,2048,1800000200000,NULL,NULL,'{"id":"desktop-ccccccc","version":1,"organisation":"default","owner":{"realm":"lab","name":"alice"},"label":null,"template":{"name":"lab","title":"","organisations":[],"os":"linux","provisioner":"fake","source":"image","clone":"auto","storage":null,"pool":null,"cores":2,"memory_mib":2048,"disk_gib":null,"network":null,"address_from":"agent","ready_when":"rdp","ports":{"rdp":3389,"ssh":22},"configurator":null,"profile":null,"admin_user":"root","keyboard":null,"locale":null,"lifetime":"ephemeral","idle":{"first_connection":"10m","disconnected":"1m","idle":"30m","lifetime_max":null,"silence":"2h","warning":"2m","report_period":"30s"},"creation_deadline":"15m"},"lifetime":"ephemeral","goal":"running","phase":"queued","reason":"asked for","created_at":"2027-01-15T08:03:20Z","updated_at":"2027-01-15T08:03:20Z","not_before":null,"not_after":null,"started_at":null,"ready_at":null,"ended_at":null,"outcome":null,"extension":"0s","reservation":null,"past_reservations":[],"seen":false,"address":null,"account":null,"prepared":false,"assigned":false,"facts":{"host_key":null,"rdp_certificate":null},"ledger":[],"restarts":{"wanted":0,"done":0},"attempts":{"failed":0,"next_at":null,"last_error":null},"power_off_since":null,"evidence":null,"token_generation":1,"snapshots":[]}');
CREATE TABLE due (
    session     TEXT PRIMARY KEY REFERENCES session (id),
    due_at      INTEGER,
    holder      TEXT,
    lease_until INTEGER,
    fence       INTEGER NOT NULL DEFAULT 0,
    wake_at     INTEGER GENERATED ALWAYS AS (COALESCE(lease_until, due_at)) VIRTUAL
) WITHOUT ROWID;
INSERT INTO due VALUES('desktop-aaaaaaa',1800000000000,NULL,NULL,0);
INSERT INTO due VALUES('desktop-bbbbbbb',1800000100000,NULL,NULL,0);
INSERT INTO due VALUES('desktop-ccccccc',1800000200000,NULL,NULL,0);
CREATE TABLE reservation (
    provisioner TEXT NOT NULL,
    machine     TEXT NOT NULL,
    session     TEXT NOT NULL REFERENCES session (id),
    PRIMARY KEY (provisioner, machine)
) WITHOUT ROWID;
CREATE TABLE event (
    cursor       INTEGER PRIMARY KEY AUTOINCREMENT,
    at           INTEGER NOT NULL,
    session      TEXT NOT NULL,
    realm        TEXT NOT NULL,
    name         TEXT NOT NULL,
    organisation TEXT NOT NULL,
    body         TEXT NOT NULL
);
INSERT INTO event VALUES(1,1800000000000,'desktop-aaaaaaa','lab','alice','default','{"event":"requested","template":"lab"}');
INSERT INTO event VALUES(2,1800000000000,'desktop-aaaaaaa','lab','alice','default','{"event":"note","text":"the end"}');
INSERT INTO event VALUES(3,1800000100000,'desktop-bbbbbbb','lab','alice','default','{"event":"requested","template":"lab"}');
INSERT INTO event VALUES(4,1800000100000,'desktop-bbbbbbb','lab','alice','default','{"event":"note","text":"the end"}');
INSERT INTO event VALUES(5,1800000200000,'desktop-ccccccc','lab','alice','default','{"event":"requested","template":"lab"}');
CREATE TABLE activity (
    session TEXT PRIMARY KEY REFERENCES session (id),
    body    TEXT NOT NULL
) WITHOUT ROWID;
INSERT INTO activity VALUES('desktop-aaaaaaa','{"last":null,"first_connected_at":null,"disconnected_since":null,"probe":null}');
INSERT INTO activity VALUES('desktop-bbbbbbb','{"last":null,"first_connected_at":null,"disconnected_since":null,"probe":null}');
INSERT INTO activity VALUES('desktop-ccccccc','{"last":null,"first_connected_at":null,"disconnected_since":null,"probe":null}');
CREATE TABLE idempotency (
    realm   TEXT NOT NULL,
    name    TEXT NOT NULL,
    key     TEXT NOT NULL,
    session TEXT NOT NULL REFERENCES session (id),
    PRIMARY KEY (realm, name, key)
) WITHOUT ROWID;
INSERT INTO idempotency VALUES('lab','alice','key-0','desktop-aaaaaaa');
INSERT INTO idempotency VALUES('lab','alice','key-1','desktop-bbbbbbb');
INSERT INTO idempotency VALUES('lab','alice','key-2','desktop-ccccccc');
CREATE TABLE api_key (
    name TEXT PRIMARY KEY,
    hash TEXT NOT NULL UNIQUE,
    body TEXT NOT NULL
) WITHOUT ROWID;
CREATE TABLE usage (
    scope      TEXT NOT NULL,
    realm      TEXT NOT NULL,
    name       TEXT NOT NULL,
    sessions   INTEGER NOT NULL,
    cores      INTEGER NOT NULL,
    memory_mib INTEGER NOT NULL,
    PRIMARY KEY (scope, realm, name)
) WITHOUT ROWID;
INSERT INTO usage VALUES('all','','',1,2,2048);
INSERT INTO usage VALUES('organisation','','default',1,2,2048);
INSERT INTO usage VALUES('owner','lab','alice',1,2,2048);
INSERT INTO usage VALUES('template','','lab',1,2,2048);
CREATE TABLE phase_count (
    phase    TEXT PRIMARY KEY,
    sessions INTEGER NOT NULL
) WITHOUT ROWID;
INSERT INTO phase_count VALUES('ended',2);
INSERT INTO phase_count VALUES('queued',1);
CREATE TABLE total (
    one             INTEGER PRIMARY KEY CHECK (one = 1),
    created         INTEGER NOT NULL,
    ended           INTEGER NOT NULL,
    ended_after_ms  INTEGER NOT NULL
);
INSERT INTO total VALUES(1,3,2,0);
DELETE FROM sqlite_sequence;
INSERT INTO sqlite_sequence VALUES('event',5);
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
CREATE INDEX due_wake ON due (wake_at) WHERE wake_at IS NOT NULL;
CREATE INDEX reservation_session ON reservation (session);
CREATE INDEX event_session ON event (session, cursor);
CREATE INDEX event_owner ON event (realm, name, cursor);
CREATE INDEX event_organisation ON event (organisation, cursor);
CREATE INDEX idempotency_session ON idempotency (session);
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
COMMIT;
