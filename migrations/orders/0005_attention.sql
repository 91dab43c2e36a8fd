-- An event that only a person can deal with: why. It stays in the queue, and nothing is asked for it again.
alter table orders.gateway_event add column attention text;
