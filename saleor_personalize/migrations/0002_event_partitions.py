"""The events table by month: old months are dropped as whole tables, and none grows for ever.

Written by hand: Django knows no partitions. What no month was made for goes to the default partition,
so nothing is lost; `events.partitions` makes the months ahead and moves such rows into theirs.

Until the first release 0001 is written anew with every change: `make initial` (this file is put aside
meanwhile, since it cannot be read without the other).
"""

from django.db import migrations

# The new table takes the columns of the old one, whatever they are, and its own keys.
PARTITION = """
ALTER TABLE saleor_personalize_event RENAME TO saleor_personalize_event_unpartitioned;
CREATE TABLE saleor_personalize_event
    (LIKE saleor_personalize_event_unpartitioned INCLUDING DEFAULTS)
    PARTITION BY RANGE (month);
CREATE TABLE saleor_personalize_event_default PARTITION OF saleor_personalize_event DEFAULT;
DO $$
DECLARE
    first date;
BEGIN
    FOR months IN -1 .. 3 LOOP
        first := (date_trunc('month', now() AT TIME ZONE 'UTC') + make_interval(months => months))::date;
        EXECUTE format(
            'CREATE TABLE %I PARTITION OF saleor_personalize_event FOR VALUES FROM (%L) TO (%L)',
            'saleor_personalize_event_' || to_char(first, 'YYYY_MM'),
            first,
            (first + interval '1 month')::date
        );
    END LOOP;
END $$;
INSERT INTO saleor_personalize_event SELECT * FROM saleor_personalize_event_unpartitioned;
DROP TABLE saleor_personalize_event_unpartitioned;
CREATE SEQUENCE saleor_personalize_event_id_seq OWNED BY saleor_personalize_event.id;
SELECT setval(
    'saleor_personalize_event_id_seq', (SELECT COALESCE(max(id), 0) + 1 FROM saleor_personalize_event), false
);
ALTER TABLE saleor_personalize_event
    ALTER COLUMN id SET DEFAULT nextval('saleor_personalize_event_id_seq'),
    ADD CONSTRAINT saleor_personalize_event_pkey PRIMARY KEY (id, month),
    ADD CONSTRAINT event_once UNIQUE (installation_id, event_id, profile_id, month),
    ADD CONSTRAINT event_installation FOREIGN KEY (installation_id)
        REFERENCES saleor_personalize_installation (id) DEFERRABLE INITIALLY DEFERRED,
    ADD CONSTRAINT event_profile FOREIGN KEY (profile_id)
        REFERENCES saleor_personalize_profile (id) DEFERRABLE INITIALLY DEFERRED;
CREATE INDEX event_timeline ON saleor_personalize_event (profile_id, occurred_at DESC);
CREATE INDEX event_training ON saleor_personalize_event (installation_id, channel_slug, occurred_at);
CREATE INDEX event_attributed ON saleor_personalize_event (installation_id, occurred_at)
    WHERE attribution_id <> '';
CREATE INDEX event_of_product ON saleor_personalize_event (installation_id, product_saleor_id, occurred_at)
    WHERE type IN ('product_viewed', 'cart_added');
CREATE INDEX event_received ON saleor_personalize_event USING brin (received_at)
    WITH (autosummarize = on);
"""


class Migration(migrations.Migration):
    dependencies = [("saleor_personalize", "0001_initial")]

    # Backwards there is nothing to do: dropping a partitioned table drops its partitions.
    operations = [migrations.RunSQL(PARTITION, migrations.RunSQL.noop)]
