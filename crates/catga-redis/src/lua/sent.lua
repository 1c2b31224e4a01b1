-- Removes rows that have left. ARGV: fence, then their numbers. Answers whether the lease holds for all of them.
local fence, rows = ARGV[1], {}
for i = 2, #ARGV do
  local row = redis.call('HGET', outbox .. ':rows', ARGV[i])
  if row then
    local partition = string.byte(row, 1)
    if leased(partition) ~= fence then return 0 end
    rows[#rows + 1] = { ARGV[i], partition }
  end
end
for _, row in ipairs(rows) do
  local number, partition = row[1], row[2]
  local place, again = redis.call('ZSCORE', part(partition), number), redis.call('HGET', outbox .. ':again', partition)
  if place and again and string.match(again, ':(%d+)$') == digits(tonumber(place)) then
    redis.call('HDEL', outbox .. ':again', partition)
  end
  redis.call('ZREM', part(partition), number)
  redis.call('HDEL', outbox .. ':rows', number)
  redis.call('HDEL', outbox .. ':tries', number)
  redis.call('HDEL', outbox .. ':reasons', number)
end
return 1
