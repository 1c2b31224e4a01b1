-- Takes what does not come by XREADGROUP. ARGV: consumer, member, lease in milliseconds, the most entries, whether to look
-- for the dead, number of members that left, their names, then the suffixes of the streams.
-- Answers how long until the next is due in microseconds (-1: nothing is), the entries, and which of those who left hold
-- nothing any more.
local consumer, member, lease, most = ARGV[1], ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4])
local tries, later = base .. ':tries:' .. consumer, base .. ':later:' .. consumer
local time, entries, empty, suffixes = now(), {}, {}, {}
local left = tonumber(ARGV[6])
for i = 7 + left, #ARGV do suffixes[#suffixes + 1] = ARGV[i] end

local function hand_out(kind, suffix, entry)
  if not entry or not entry[2] then return end
  local field = suffix .. '|' .. entry[1]
  if redis.call('ZSCORE', later, field) then return end
  entries[#entries + 1] = { kind, suffix, entry[1], redis.call('HGET', tries, field) or '', entry[2] }
end

-- Messages whose time has come take their place in their streams.
local function deliver_due(suffix)
  local subject = string.sub(suffix, 3)
  local kept = base .. ':due:' .. subject
  local ready = redis.call('ZRANGEBYSCORE', kept, '-inf', digits(time), 'LIMIT', 0, 256)
  for _, record in ipairs(ready) do
    local length = string.byte(record, 17)
    local to, frame = string.sub(record, 18, 17 + length), string.sub(record, 18 + length)
    if to == '' then
      redis.call('XADD', base .. ':' .. suffix, 'NOMKSTREAM', '*', 'f', frame)
    else
      redis.call('XADD', base .. ':q:' .. to, 'NOMKSTREAM', '*', 'f', frame, 'to', to)
    end
    redis.call('ZREM', kept, record)
  end
end

local function adopt(name)
  local rest = 0
  for _, suffix in ipairs(suffixes) do
    local stream = base .. ':' .. suffix
    local pending = redis.pcall('XPENDING', stream, consumer, '-', '+', 256, name)
    if not pending.err then
      for _, one in ipairs(pending) do
        -- One's own entries stay where they are; whoever asks knows which it has.
        local claimed = redis.call('XCLAIM', stream, consumer, member, 0, one[1])
        hand_out('l', suffix, claimed[1])
      end
      if #pending == 256 then
        rest = 1
      elseif name ~= member then
        redis.call('XGROUP', 'DELCONSUMER', stream, consumer, name)
      end
    end
  end
  return rest
end

for _, suffix in ipairs(suffixes) do
  if string.sub(suffix, 1, 2) == 's:' then deliver_due(suffix) end
end
for i = 7, 6 + left do
  if adopt(ARGV[i]) == 0 then empty[#empty + 1] = ARGV[i] end
end

local ready = redis.call('ZRANGEBYSCORE', later, '-inf', digits(time), 'LIMIT', 0, most)
for _, field in ipairs(ready) do
  local bar = string.find(field, '|[^|]*$')
  local suffix, id = string.sub(field, 1, bar - 1), string.sub(field, bar + 1)
  local claimed = redis.pcall('XCLAIM', base .. ':' .. suffix, consumer, member, 0, id)
  redis.call('ZREM', later, field)
  if not claimed.err and claimed[1] then
    hand_out('r', suffix, claimed[1])
  else
    redis.call('HDEL', tries, field)
  end
end

if ARGV[5] == '1' then
  for _, suffix in ipairs(suffixes) do
    local stream, cursor = base .. ':' .. suffix, '0-0'
    for _ = 1, 16 do
      local found = redis.pcall('XAUTOCLAIM', stream, consumer, member, lease, cursor, 'COUNT', 64)
      if found.err then break end
      for _, entry in ipairs(found[2]) do hand_out('d', suffix, entry) end
      cursor = found[1]
      if cursor == '0-0' then break end
    end
    -- Those who are gone for long go, once nothing is theirs any more.
    local members = redis.pcall('XINFO', 'CONSUMERS', stream, consumer)
    if not members.err then
      for _, facts in ipairs(members) do
        local named = {}
        for i = 1, #facts, 2 do named[facts[i]] = facts[i + 1] end
        if named.pending == 0 and named.idle > 10 * lease and named.name ~= member then
          redis.call('XGROUP', 'DELCONSUMER', stream, consumer, named.name)
        end
      end
    end
  end
end

local next_due = nil
local function soonest(key)
  local first = redis.call('ZRANGE', key, 0, 0, 'WITHSCORES')
  if first[2] and (not next_due or tonumber(first[2]) < next_due) then next_due = tonumber(first[2]) end
end
soonest(later)
for _, suffix in ipairs(suffixes) do
  if string.sub(suffix, 1, 2) == 's:' then soonest(base .. ':due:' .. string.sub(suffix, 3)) end
end
local pause = '-1'
if next_due then pause = digits(math.max(0, next_due - now())) end
return { pause, entries, empty }
