-- Reads the events of all streams. ARGV: the position after which, the most events.
-- Answers position, stream, version and frame of each.
local found = {}
local page = redis.call('XRANGE', base .. ':ev:log', '(' .. ARGV[1] .. '-0', '+', 'COUNT', ARGV[2])
for _, entry in ipairs(page) do
  local position = split(entry[1])
  local stream, version = entry[2][2], entry[2][4]
  local event = redis.call('XRANGE', base .. ':ev:s:' .. stream, version .. '-0', version .. '-0')[1]
  if event then found[#found + 1] = { digits(position), stream, version, event[2][4] } end
end
return found
