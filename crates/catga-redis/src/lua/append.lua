-- Appends events of one stream, all or none. ARGV: stream, expected version (`any` or a number), then id and frame of each.
-- Answers whether it did, the stream's version, and whether only some of the ids were known.
local log, ids = base .. ':ev:s:' .. ARGV[1], base .. ':ev:i:' .. ARGV[1]
local count = (#ARGV - 2) / 2
local version = redis.call('HLEN', ids)
if count == 0 then return { 1, version, 0 } end

local known, first, last = 0, nil, nil
local together = true
for i = 3, #ARGV, 2 do
  local at = redis.call('HGET', ids, ARGV[i])
  if at then
    at = tonumber(at)
    known = known + 1
    together = together and (not last or at == last + 1)
    first, last = first or at, at
  end
end
if known == count and together then return { 1, last, 0 } end
if known > 0 then return { 0, version, 1 } end
if ARGV[2] ~= 'any' and tonumber(ARGV[2]) ~= version then return { 0, version, 0 } end

for i = 3, #ARGV, 2 do
  version = version + 1
  local position = digits(redis.call('INCR', base .. ':ev:n'))
  redis.call('HSET', ids, ARGV[i], version)
  redis.call('XADD', log, digits(version) .. '-0', 'p', position, 'f', ARGV[i + 1])
  redis.call('XADD', base .. ':ev:log', position .. '-0', 's', ARGV[1], 'v', version)
end
return { 1, version, 0 }
