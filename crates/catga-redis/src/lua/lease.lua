-- Leases partitions. ARGV: owner, time in milliseconds, how long an owner may be silent in milliseconds.
-- Answers the fence, and the partitions.
local owner, time = ARGV[1], now()
local till = digits(time + tonumber(ARGV[2]) * 1000)
local mine, fence, gained = {}, nil, false
for partition = 0, 63 do
  local kept, whose, ends = leased(partition)
  if whose == owner then
    fence = kept
    mine[#mine + 1] = partition
  elseif not whose or ends <= time or heard(kept) <= time then
    gained = true
    mine[#mine + 1] = partition
  end
end
if gained or not fence then
  if fence then redis.call('HDEL', outbox .. ':alive', fence) end
  fence = digits(redis.call('INCR', outbox .. ':fence'))
end
for _, partition in ipairs(mine) do
  redis.call('HSET', outbox .. ':lease', partition, fence .. ':' .. till .. ':' .. owner)
end
sign(fence, ARGV[3])
return { fence, mine }
