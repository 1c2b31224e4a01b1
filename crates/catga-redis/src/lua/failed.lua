-- Keeps a row for another try. ARGV: fence, number, reason, pause in microseconds. Answers whether the lease holds.
local row = redis.call('HGET', outbox .. ':rows', ARGV[2])
if not row then return 1 end
local partition = string.byte(row, 1)
if leased(partition) ~= ARGV[1] then return 0 end
local place = redis.call('ZSCORE', part(partition), ARGV[2])
redis.call('HINCRBY', outbox .. ':tries', ARGV[2], 1)
redis.call('HSET', outbox .. ':reasons', ARGV[2], ARGV[3])
if place then
  local till = digits(now() + tonumber(ARGV[4]))
  redis.call('HSET', outbox .. ':again', partition, till .. ':' .. digits(tonumber(place)))
end
return 1
