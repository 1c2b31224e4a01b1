-- What all scripts share. KEYS[1] is the application's base, such as `catga:{shop}`; every other key is derived from it,
-- so that all of them lie in one slot.
local base = KEYS[1]

local function now()
  local time = redis.call('TIME')
  return tonumber(time[1]) * 1000000 + tonumber(time[2])
end

-- Numbers beyond 2^31 are told as whole digits.
local function digits(number)
  return string.format('%.0f', number)
end

local function split(id)
  local at = string.find(id, '-', 1, true)
  return tonumber(string.sub(id, 1, at - 1)), tonumber(string.sub(id, at + 1))
end

local function before(a, b)
  local ams, aseq = split(a)
  local bms, bseq = split(b)
  return ams < bms or (ams == bms and aseq < bseq)
end

local function after(id)
  local ms, seq = split(id)
  return digits(ms) .. '-' .. digits(seq + 1)
end

local function ahead(id)
  local ms, seq = split(id)
  if seq > 0 then return digits(ms) .. '-' .. digits(seq - 1) end
  if ms == 0 then return '0-0' end
  return digits(ms - 1) .. '-18446744073709551615'
end

-- A group's facts by name, or nothing where stream or group is gone.
local function group_of(stream, group)
  local groups = redis.pcall('XINFO', 'GROUPS', stream)
  if groups.err then return nil end
  for _, facts in ipairs(groups) do
    local named = {}
    for i = 1, #facts, 2 do named[facts[i]] = facts[i + 1] end
    if named.name == group then return named end
  end
  return nil
end

-- The first entry that this group has not settled, as an id that must stay.
local function floor_of(stream, group)
  local facts = group_of(stream, group)
  if not facts then return nil end
  if facts.pending > 0 then return redis.call('XPENDING', stream, group)[2] end
  return after(facts['last-delivered-id'])
end

local function consumers_of(suffix)
  if string.sub(suffix, 1, 2) == 'q:' then return { string.sub(suffix, 3) } end
  return redis.call('SMEMBERS', base .. ':subs:' .. string.sub(suffix, 3))
end

-- Drops what every registered group has settled, and nothing else: where a group is missing, nothing.
local function trim(suffix)
  local stream, floor = base .. ':' .. suffix, nil
  for _, consumer in ipairs(consumers_of(suffix)) do
    local own = floor_of(stream, consumer)
    if not own then return end
    if not floor or before(own, floor) then floor = own end
  end
  if floor then redis.call('XTRIM', stream, 'MINID', '=', floor) end
end

-- Remembers up to where a group has settled, so that it can be made again there.
local function remember(suffix, consumer)
  local floor = floor_of(base .. ':' .. suffix, consumer)
  if floor then redis.call('HSET', base .. ':at:' .. consumer, suffix, ahead(floor)) end
end

local function owner_of(stream, consumer, id)
  local pending = redis.pcall('XPENDING', stream, consumer, id, id, 1)
  if pending.err or not pending[1] then return nil end
  return pending[1][2]
end

-- Makes a group where it is missing. A registered one begins where it had settled, a new one at the end.
local function ensure(suffix, consumer, known)
  local stream = base .. ':' .. suffix
  if group_of(stream, consumer) then return 0 end
  local position = '$'
  if string.sub(suffix, 1, 2) == 'q:' then position = '0' end
  if known then position = redis.call('HGET', base .. ':at:' .. consumer, suffix) or '0' end
  redis.call('XGROUP', 'CREATE', stream, consumer, position, 'MKSTREAM')
  if position == '$' then
    -- With the number of entries before it, the server can count what the group has not read.
    local facts, added = redis.call('XINFO', 'STREAM', stream), '0'
    for i = 1, #facts, 2 do
      if facts[i] == 'entries-added' then added = facts[i + 1] end
      if facts[i] == 'last-generated-id' then position = facts[i + 1] end
    end
    redis.call('XGROUP', 'SETID', stream, consumer, position, 'ENTRIESREAD', added)
  end
  redis.call('HSET', base .. ':at:' .. consumer, suffix, position)
  return known and 1 or 0
end

-- Settles entries of one consumer. `acks` are {suffix, ids} of those that are done; `items` are {op, suffix, id, pause,
-- count}: `B` buried, `A` again after a pause in microseconds. Answers the numbers of the items that were refused because
-- somebody else has them, and the streams that were acknowledged on.
local function settle(consumer, member, acks, items)
  local stale, touched = {}, {}
  local tries, later = base .. ':tries:' .. consumer, base .. ':later:' .. consumer
  for number, item in ipairs(items) do
    local op, suffix, id = item[1], item[2], item[3]
    local stream, field = base .. ':' .. suffix, suffix .. '|' .. id
    if owner_of(stream, consumer, id) ~= member then
      stale[#stale + 1] = number
    elseif op == 'A' then
      local count = tonumber(item[5])
      if count ~= 0 then
        local kept = redis.call('HGET', tries, field)
        local n, first = 0, digits(now())
        if kept then
          local at = string.find(kept, ':', 1, true)
          n, first = tonumber(string.sub(kept, 1, at - 1)), string.sub(kept, at + 1)
        end
        redis.call('HSET', tries, field, (n + count) .. ':' .. first)
      end
      redis.call('ZADD', later, digits(now() + tonumber(item[4])), field)
    else
      acks[#acks + 1] = { suffix, { id } }
    end
  end
  -- Most entries were never tried before, and most consumers have none that was.
  local tried = redis.call('EXISTS', tries, later) > 0
  local seen = {}
  for _, ack in ipairs(acks) do
    local suffix, ids = ack[1], ack[2]
    for from = 1, #ids, 1000 do
      local to = math.min(from + 999, #ids)
      redis.pcall('XACK', base .. ':' .. suffix, consumer, unpack(ids, from, to))
      if tried then
        local fields = {}
        for i = from, to do fields[#fields + 1] = suffix .. '|' .. ids[i] end
        redis.call('HDEL', tries, unpack(fields))
        redis.call('ZREM', later, unpack(fields))
      end
    end
    if not seen[suffix] then
      seen[suffix] = true
      touched[#touched + 1] = suffix
    end
  end
  for _, suffix in ipairs(touched) do remember(suffix, consumer) end
  return stale, touched
end
