-- One holder's call: what it gives back, keeps and wants of one account's sessions.
--
-- Everything about an account is changed here and nowhere else, by the server's clock. A
-- call may come twice, or late: a lease is known by its id, and is there once or not at all.
--
-- KEYS: as unpacked below; `news` is the channel on which who should call is told so.
-- ARGV: holder ('' for an administrator), lease time in ms, sessions where the store knows no
--   number yet, new number of sessions or 0, sessions that the holder has, ... and needs,
--   notice ('', 'filled', 'opened', 'leave' or 'init'), numbers of the ids that follow:
--   released, renewed and rented ones.
-- Returns: sessions; how many the holder may keep, -1 for all; for how many ms nothing new is
--   leased; whether the holder tries one more than the service allowed (1); the ids that
--   were not renewed; those that were not rented.

local leases, holders, waiting = KEYS[1], KEYS[2], KEYS[3]  -- id or holder -> expiry in ms
local held, used, needs, turns = KEYS[4], KEYS[5], KEYS[6], KEYS[7]  -- holder -> number
local budget, news = KEYS[8], KEYS[9]

local FULL_FOR = 30000  -- ms for which a refusal of the service's counts
local WISH = 3000       -- ms for which a wish counts that is not repeated
local GRACE = 2000      -- ms in which who could not call does
local MOMENT = 250      -- ms for which shares are taken to be as they were
local RECENT = 1000     -- ms for which what a holder says is good enough for who waits
local TENURE = 2000     -- ms before a holder's only lease goes round, where hosts outnumber leases

local me, ttl = ARGV[1], tonumber(ARGV[2])
local my_used, my_need, notice = tonumber(ARGV[5]), tonumber(ARGV[6]), ARGV[7]
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local is_freed, is_news = false, false  -- whether those who lack some may call, or everybody

local function ids(first, number)
  local found = {}
  for i = first, first + number - 1 do found[#found + 1] = ARGV[i] end
  return found
end
local released = ids(11, tonumber(ARGV[8]))
local renewed = ids(11 + #released, tonumber(ARGV[9]))
local rented = ids(11 + #released + #renewed, tonumber(ARGV[10]))

local function total() return redis.call('ZCARD', leases) end
local function count(holder) return tonumber(redis.call('HGET', held, holder) or 0) end
local function has(id) return redis.call('ZSCORE', leases, id) end

local function keep(id)
  if redis.call('ZADD', leases, now + ttl, id) == 1 and redis.call('HINCRBY', held, me, 1) == 1 then
    redis.call('HSET', turns, me, now)
  end
end

local function drop(id)
  if redis.call('ZREM', leases, id) == 0 then return end
  local holder = string.match(id, '^(.*)/%d+$') or id
  is_freed = true
  if redis.call('HINCRBY', held, holder, -1) <= 0 then
    redis.call('HDEL', held, holder)
    redis.call('HSET', turns, holder, now)
  end
end

local function forget(holder)
  for _, key in ipairs({holders, waiting}) do redis.call('ZREM', key, holder) end
  for _, key in ipairs({held, used, needs, turns}) do redis.call('HDEL', key, holder) end
end

local fields = {'run', 'admits_from', 'called', 'sessions', 'level', 'short', 'of', 'seen'}
local stored = {}
for i, value in ipairs(redis.call('HMGET', budget, unpack(fields))) do stored[fields[i]] = value end

-- What has run out. If nobody has called for longer than anybody is silent, nobody could: who
-- is there gets the time to say so, before others get what it has.
local was_unreached = stored.called and now - stored.called > ttl / 2
local until_when = notice == 'init' and '+inf' or now  -- nothing is open of what is leased
for _, id in ipairs(redis.call('ZRANGEBYSCORE', leases, '-inf', until_when)) do
  if was_unreached and notice ~= 'init' then
    redis.call('ZADD', leases, now + GRACE, id)
  else
    drop(id)
  end
end
for _, holder in ipairs(redis.call('ZRANGEBYSCORE', holders, '-inf', now)) do
  if was_unreached then redis.call('ZADD', holders, now + GRACE, holder) else forget(holder) end
end
redis.call('ZREMRANGEBYSCORE', waiting, '-inf', now)

local sessions = tonumber(ARGV[4]) > 0 and ARGV[4] or stored.sessions
if tonumber(ARGV[4]) > 0 or (me ~= '' and not sessions) then
  sessions = sessions or ARGV[3]
  redis.call('HSET', budget, 'sessions', sessions)
end
if me ~= '' then redis.call('HSET', budget, 'called', now) end
is_news = notice == 'init' or tonumber(ARGV[4]) > 0

-- The holder.
local is_new = false
if me ~= '' then
  redis.call('ZADD', holders, now + ttl, me)
  redis.call('HSET', used, me, my_used)
  redis.call('HSET', needs, me, my_need)
  is_new = redis.call('HSETNX', turns, me, now) == 1
end
for _, id in ipairs(released) do drop(id) end

-- What the service was found to allow.
if notice == 'filled' then
  local open = math.max(0, total() - math.max(0, count(me) - my_used))
  redis.call('HSET', budget, 'ceiling', open, 'tried_from', now + FULL_FOR)
  redis.call('HDEL', budget, 'tries')
elseif notice == 'opened' and redis.call('HGET', budget, 'tries') == me then
  redis.call('HDEL', budget, 'ceiling', 'tried_from', 'tries')
  is_news = true
end
sessions = tonumber(sessions or ARGV[3])
local limit = sessions
local ceiling = redis.call('HMGET', budget, 'ceiling', 'tried_from')
if ceiling[1] then
  limit = math.min(sessions, ceiling[1] + (now >= tonumber(ceiling[2]) and 1 or 0))
end

-- A store that is empty, or comes from a dump, does not know all that is leased: for one lease
-- time holders register anew what they have, and nobody gets more. It is looked at before
-- anything is given.
local admits_from = tonumber(stored.admits_from or 0)
if is_new or #renewed > 0 or notice == 'init' or (#rented > 0 and total() < limit) then
  local info = redis.pcall('INFO', 'server')
  local run = type(info) == 'string' and string.match(info, 'run_id:(%w+)') or ''
  if notice == 'init' or stored.run ~= run then
    admits_from = notice == 'init' and now or now + ttl
    redis.call('HSET', budget, 'run', run, 'admits_from', admits_from)
  end
end

local lapsed = {}
for _, id in ipairs(renewed) do
  if has(id) or total() < limit then keep(id) else lapsed[#lapsed + 1] = id end
end

-- What is due to each holder: as much as it needs, and where that is too much in all, no
-- more than any other. Where that is not even one for each, they take turns.
local function numbers(key)
  local found, flat = {}, redis.call('HGETALL', key)
  for i = 1, #flat, 2 do found[flat[i]] = tonumber(flat[i + 1]) end
  return found
end

local function taking_turns(rows)
  local function rank(row)  -- who has just got one; who has none, by turn; the rest, latest first
    if row.held == 0 then return 1, row.turn end
    if row.turn + TENURE > now then return 0, row.turn end
    return 2, -row.turn
  end
  table.sort(rows, function(a, b)
    local first, second = rank(a)
    local other, than = rank(b)
    if first ~= other then return first < other end
    if second ~= than then return second < than end
    return a.name < b.name
  end)
  return rows
end

local function shares()
  local rows, mine, waits = {}, nil, {}
  local has_turn, counts = numbers(turns), numbers(held)
  for _, holder in ipairs(redis.call('ZRANGE', waiting, 0, -1)) do waits[holder] = true end
  for holder, need in pairs(numbers(needs)) do
    local row = {name = holder, need = need, held = counts[holder] or 0, due = need,
                 turn = has_turn[holder] or now, waits = waits[holder]}
    rows[#rows + 1] = row
    if holder == me then mine = row end
  end
  local left, level, wanting = math.max(0, limit), 0, rows
  repeat
    local before, more = #wanting, {}
    level = before > 0 and math.floor(left / before) or left
    for _, row in ipairs(wanting) do
      if row.need > level then more[#more + 1] = row else left = left - row.need end
    end
    wanting = more
  until #wanting == before or #wanting == 0
  for _, row in ipairs(wanting) do row.due = level end
  if level == 0 then
    for i, row in ipairs(taking_turns(wanting)) do row.due = i <= left and 1 or 0 end
  end
  local short = 0
  for _, row in ipairs(rows) do
    row.lacks = row.waits and math.max(0, row.due - row.held) or 0
    short = short + row.lacks
  end
  redis.call('HSET', budget, 'level', level, 'short', short, 'of', limit, 'seen', now)
  return rows, mine, level, short
end

-- That is much to look at for each call of many hosts: what was found a moment ago says
-- whether it is worth while.
local level, short = tonumber(stored.level or 0), tonumber(stored.short or 0)
local is_old = tonumber(stored.of or -1) ~= limit or now - stored.seen > MOMENT

local refused = {}
if #rented > 0 then
  local may = now < admits_from and 0 or math.max(0, limit - total())
  if may > 0 and redis.call('ZCARD', waiting) > 0 and (is_old or short > 0) then
    -- What is free is for who has less than is due to it; among these, by turn.
    local rows, mine = shares()
    local before, others = 0, 0
    for _, row in ipairs(rows) do
      if row ~= mine then
        others = others + row.lacks
        if row.turn < mine.turn or (row.turn == mine.turn and row.name < me) then
          before = before + row.lacks
        end
      end
    end
    may = math.max(0, may - others, math.min(may - before, mine.due - mine.held))
  end
  for _, id in ipairs(rented) do
    if has(id) then
      keep(id)
    elseif may > 0 then
      may = may - 1
      keep(id)
      if ceiling[1] and total() > tonumber(ceiling[1]) then redis.call('HSET', budget, 'tries', me) end
    else
      refused[#refused + 1] = id
    end
  end
end
local mine_held = count(me)
if me ~= '' then
  if my_need > mine_held then
    redis.call('ZADD', waiting, now + WISH, me)
  else
    redis.call('ZREM', waiting, me)
  end
end

-- Who has more than is due to it makes room for who waits with less. It is told to call, and
-- finds the same; so it does not matter if it is not reached.
local may_keep = -1
local room = limit - total()
local mine_due = math.min(my_need, level)
local is_worth_a_look = is_old
  or (#refused > 0 and mine_held < mine_due)
  or (short > room and mine_held > mine_due)
  or (is_freed and room > 0 and short > 0)
if now >= admits_from and (room < 0 or redis.call('ZCARD', waiting) > 0) and is_worth_a_look then
  local rows, mine
  rows, mine, level, short = shares()
  local givers, lack = {}, short - room
  for _, row in ipairs(rows) do
    if row.held > row.due then givers[#givers + 1] = row end
  end
  table.sort(givers, function(a, b)
    if a.held - a.due ~= b.held - b.due then return a.held - a.due > b.held - b.due end
    return a.name < b.name
  end)
  for _, row in ipairs(givers) do
    row.gives = math.max(0, math.min(lack, row.held - row.due))
    lack = lack - row.gives
  end
  if mine and (mine.gives or 0) > 0 then may_keep = mine.held - mine.gives end
  -- What others said that do not wait may be old: they may have come to need less.
  local called = {}
  if #refused > 0 then
    local flat = redis.call('ZRANGE', holders, 0, -1, 'WITHSCORES')
    for i = 1, #flat, 2 do called[flat[i]] = flat[i + 1] - ttl end
  end
  local asks = #refused > 0 or notice == 'filled'
  for _, row in ipairs(rows) do
    local is_told = (asks and (row.gives or 0) > 0)
      or (is_freed and room > 0 and row.lacks > 0)
      or (row.held > 0 and not row.waits and now - (called[row.name] or now) > RECENT)
    if is_told and row ~= mine then redis.call('PUBLISH', news .. ':' .. row.name, '') end
  end
end
if is_news then redis.call('PUBLISH', news, '') end
if notice == 'leave' and count(me) == 0 then forget(me) end

local tries = redis.call('HGET', budget, 'tries') == me and 1 or 0
return {sessions, may_keep, math.max(0, admits_from - now), tries, lapsed, refused}
