-- Leases partitions. ARGV: owner, time in milliseconds. Answers the fence, and the partitions.
local owner, time = ARGV[1], now()
local till = digits(time + tonumber(ARGV[2]) * 1000)
local mine, fence, gained = {}, nil, false
for partition = 0, 63 do
  local kept, whose, ends = leased(partition)
  if whose == owner then
    fence = kept
    mine[#mine + 1] = partition
  elseif not whose or ends <= time then
    gained = true
    mine[#mine + 1] = partition
  end
end
if gained or not fence then fence = digits(redis.call('INCR', outbox .. ':fence')) end
for _, partition in ipairs(mine) do
  redis.call('HSET', outbox .. ':lease', partition, fence .. ':' .. till .. ':' .. owner)
end
return { fence, mine }
