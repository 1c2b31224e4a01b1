-- Claims a key. ARGV: key, lease in milliseconds. Answers 0 and the fence, 1 and how long somebody else has it in
-- microseconds, or 2 and the answer.
local key, time = base .. ':in:' .. ARGV[1], now()
local kept = redis.call('GET', key)
if kept then
  if string.sub(kept, 1, 1) == 'D' then return { 2, string.sub(kept, 2) } end
  local till = tonumber(string.sub(kept, string.find(kept, ':', 1, true) + 1))
  if till > time then return { 1, digits(till - time) } end
end
local fence = digits(redis.call('INCR', base .. ':fence'))
-- It outlives its lease for a day, so that an owner whom nobody has followed may still finish.
local lease = tonumber(ARGV[2])
redis.call('SET', key, 'C' .. fence .. ':' .. digits(time + lease * 1000), 'PX', digits(lease + 86400000))
return { 0, fence }
