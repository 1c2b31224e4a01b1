-- Counts a try before it starts. ARGV: consumer, member, suffix, id. Answers how many were counted before and when the
-- first of them started, or -1 where somebody else has the entry.
local consumer, member, suffix, id = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
if owner_of(base .. ':' .. suffix, consumer, id) ~= member then return { -1, '0' } end
local tries, field = base .. ':tries:' .. consumer, suffix .. '|' .. id
local kept = redis.call('HGET', tries, field)
local n, first = 0, digits(now())
if kept then
  local at = string.find(kept, ':', 1, true)
  n, first = tonumber(string.sub(kept, 1, at - 1)), string.sub(kept, at + 1)
end
redis.call('HSET', tries, field, (n + 1) .. ':' .. first)
return { n, first }
