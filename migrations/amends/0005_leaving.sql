-- A node that leaves finishes what is under way, shard by shard. The others share the shards without it
-- from the moment it says so, and take each as it is let go.
alter table saga.node add column leaving boolean not null default false;
