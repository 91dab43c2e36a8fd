-- No foreign key from a line to its reservation: checking one costs as much as writing the line, and a
-- basket has eleven on average. Both are written by one transaction, the line only for a reservation that
-- it has just made, and `verify` finds a line without one.
alter table inventory.reservation_line drop constraint reservation_line_order_id_fkey;
