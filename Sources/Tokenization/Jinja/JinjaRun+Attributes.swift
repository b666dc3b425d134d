extension JinjaRun {
    /// `value.name`: what Python has as an attribute comes before what a dictionary holds.
    func attribute(_ name: String, of value: JinjaValue) throws(JinjaError) -> JinjaValue {
        if case .undefined(let problem) = value { throw .failed(problem) }
        if let attribute = try ownAttribute(name, of: value) { return attribute }
        if case .dictionary(let dictionary) = value, let member = dictionary[name] { return member }
        return .undefined("\(value.kind) has no attribute '\(name)'")
    }

    /// `value[index]`: what a dictionary holds comes before attributes.
    func element(_ index: JinjaValue, of value: JinjaValue) throws(JinjaError) -> JinjaValue {
        switch value {
        case .undefined(let problem): throw .failed(problem)
        case .dictionary(let dictionary):
            if let key = try key(index), let member = dictionary[key] { return member }
        case .list(let list), .tuple(let list):
            if let place = place(index, of: list.elements.count) { return list.elements[place] }
        case .text(let text):
            if let place = place(index, of: text.count) { return .text(text[place..<place + 1]) }
        case .range(let range):
            if let place = place(index, of: range.count) { return range[place] }
        default: break
        }
        if let name = index.asText?.string, let attribute = try ownAttribute(name, of: value) { return attribute }
        return .undefined("\(value.kind) has no element \(try representation(of: index).string)")
    }

    private func place(_ index: JinjaValue, of count: Int) -> Int? {
        guard let index = index.asInteger else { return nil }
        let place = index < 0 ? index + count : index
        return (0..<count).contains(place) ? place : nil
    }

    /// What Python's type of a value has under a name; undefined where the sandbox does not hand it out; nil where it
    /// has nothing.
    func ownAttribute(_ name: String, of value: JinjaValue) throws(JinjaError) -> JinjaValue? {
        if name.hasPrefix("__"), name.hasSuffix("__") { return unsafe(name, value) }
        if case .namespace(let namespace) = value { return namespace[name] }
        if Self.hasMethod(name, value) { return .function(JinjaFunction(name, of: value)) }
        switch value {
        case .dictionary:
            return ["clear", "pop", "popitem", "setdefault", "update"].contains(name) ? unsafe(name, value) : nil
        case .list:
            let changing = ["append", "clear", "pop", "reverse", "insert", "sort", "extend", "remove"]
            return changing.contains(name) ? unsafe(name, value) : nil
        case .tuple(let list) where list.isGroup:
            return name == "grouper" ? list.elements[0] : name == "list" ? list.elements[1] : nil
        case .range(let range):
            let members = ["start": range.start, "stop": range.stop, "step": range.step]
            return members[name].map { .integer($0) }
        case .macro(let macro): return try member(name, of: macro)
        case .loop(let loop): return try loop.member(name)
        case .cycler(let cycler):
            if name == "current" { return cycler.items.elements[cycler.position] }
            if name == "pos" { return .integer(cycler.position) }
            return name == "items" ? .tuple(cycler.items) : nil
        case .joiner(let joiner):
            return name == "sep" ? joiner.separator : name == "used" ? .bool(joiner.isUsed) : nil
        case .template: return blocks[name].map { .block($0.name) }
        case .bool, .integer, .float: return number(name, value)
        default: return nil
        }
    }

    private func unsafe(_ name: String, _ value: JinjaValue) -> JinjaValue {
        .undefined("the attribute '\(name)' of \(value.kind) is not safe")
    }

    private func number(_ name: String, _ value: JinjaValue) -> JinjaValue? {
        switch (name, value) {
        case ("real", .float): value
        case ("imag", .float): .float(0)
        case ("real", _), ("numerator", .integer), ("numerator", .bool): value.asInteger.map { .integer($0) }
        case ("imag", _): .integer(0)
        case ("denominator", .integer), ("denominator", .bool): .integer(1)
        default: nil
        }
    }

    private func member(_ name: String, of macro: JinjaMacro) throws(JinjaError) -> JinjaValue? {
        let syntax = macro.syntax
        return switch name {
        case "name": syntax.name.map { .plain($0) } ?? JinjaValue.none
        case "arguments": try tuple(syntax.parameters.map { .plain($0.name) })
        case "catch_kwargs": .bool(syntax.uses.contains("kwargs"))
        case "catch_varargs": .bool(syntax.uses.contains("varargs"))
        case "caller": .bool(syntax.uses.contains("caller"))
        case "explicit_caller": .bool(syntax.parameters.contains { $0.name == "caller" })
        default: nil
        }
    }

    private static func hasMethod(_ name: String, _ value: JinjaValue) -> Bool {
        switch value {
        case .text(let text): textMethods.contains(name) || text.isMarkup && markupMethods.contains(name)
        case .dictionary: ["get", "items", "keys", "values", "copy", "fromkeys"].contains(name)
        case .list: ["copy", "count", "index"].contains(name)
        case .tuple, .range: ["count", "index"].contains(name)
        case .integer, .bool: ["bit_length", "bit_count", "conjugate", "as_integer_ratio"].contains(name)
        case .float: ["is_integer", "conjugate"].contains(name)
        case .cycler: ["next", "reset"].contains(name)
        case .function(let function): function.receiver == nil && function.name == "dict" && name == "fromkeys"
        default: false
        }
    }

    // MARK: Methods of other values than texts

    /// `receiver.name(arguments)`
    func method(_ name: String, of receiver: JinjaValue, _ call: JinjaCall) throws(JinjaError) -> JinjaValue {
        switch receiver {
        case .text(let text): return try textMethod(name, of: text, call)
        case .dictionary(let dictionary): return try method(name, of: dictionary, call)
        case .list, .tuple, .range: return try sequenceMethod(name, of: receiver, call)
        case .loop(let loop):
            guard call.named.isEmpty else { throw .failed("'loop.\(name)' has no named arguments") }
            if name == "changed" { return .bool(loop.hasChanged(try makeList(call.positional))) }
            guard !call.positional.isEmpty else { throw .failed("'loop.cycle' has no values") }
            return call.positional[loop.index0 % call.positional.count]
        case .cycler(let cycler):
            _ = try bind(call, [], of: name)
            defer { cycler.position = name == "reset" ? 0 : (cycler.position + 1) % cycler.items.elements.count }
            return name == "reset" ? .none : cycler.items.elements[cycler.position]
        case .function: return try fromKeys(call)
        default: return try numberMethod(name, of: receiver, call)
        }
    }

    private func method(
        _ name: String, of dictionary: JinjaDictionary, _ call: JinjaCall
    ) throws(JinjaError) -> JinjaValue {
        if let kind = JinjaView.Kind(rawValue: name) {
            _ = try bind(call, [], of: name)
            return .view(JinjaView(dictionary, kind))
        }
        if name == "copy" {
            _ = try bind(call, [], of: name)
            return try self.dictionary(dictionary.members)
        }
        if name == "fromkeys" { return try fromKeys(call) }
        let values = try bind(call, ["_key", "_default"], required: 1, of: name)
        guard let key = try key(values[0] ?? .none) else { throw .failed("'get' gets no key") }
        return dictionary[key] ?? values[1] ?? .none
    }

    private func fromKeys(_ call: JinjaCall) throws(JinjaError) -> JinjaValue {
        let values = try bind(call, ["_keys", "_value"], required: 1, of: "fromkeys")
        return try dictionary(elements(of: values[0] ?? .none).map { ($0, values[1] ?? .none) })
    }

    private func sequenceMethod(
        _ name: String, of receiver: JinjaValue, _ call: JinjaCall
    ) throws(JinjaError) -> JinjaValue {
        let elements = try elements(of: receiver)
        switch name {
        case "copy":
            _ = try bind(call, [], of: name)
            return try list(elements)
        case "count":
            let wanted = try bind(call, ["_value"], required: 1, of: name)[0] ?? .none
            var count = 0
            for element in elements where try compare(.equal, element, wanted) { count += 1 }
            return .integer(count)
        default:
            let values = try bind(call, ["_value", "_start", "_stop"], required: 1, of: name)
            let start = Self.clamp(try integer(values[1], of: name) ?? 0, elements.count)
            let stop = Self.clamp(try integer(values[2], of: name) ?? .max, elements.count)
            for index in start..<max(start, stop) where try compare(.equal, elements[index], values[0] ?? .none) {
                return .integer(index)
            }
            throw .failed("'index' does not find its value")
        }
    }

    /// A place in `count` elements, counted from the end where it is negative.
    static func clamp(_ place: Int, _ count: Int) -> Int {
        place < 0 ? max(0, place.addingReportingOverflow(count).partialValue) : min(place, count)
    }

    private func numberMethod(
        _ name: String, of receiver: JinjaValue, _ call: JinjaCall
    ) throws(JinjaError) -> JinjaValue {
        _ = try bind(call, [], of: name)
        if case .float(let value) = receiver {
            return name == "is_integer" ? .bool(value.isFinite && value == value.rounded()) : receiver
        }
        let value = receiver.asInteger ?? 0
        switch name {
        case "bit_length": return .integer(Int.bitWidth - value.magnitude.leadingZeroBitCount)
        case "bit_count": return .integer(value.magnitude.nonzeroBitCount)
        case "as_integer_ratio": return try tuple([.integer(value), .integer(1)])
        default: return .integer(value)
        }
    }

    // MARK: Slices

    /// `value[start:stop:step]`
    func slice(
        _ value: JinjaValue, _ start: Int?, _ stop: Int?, step: Int?
    ) throws(JinjaError) -> JinjaValue {
        if case .undefined(let problem) = value { throw .failed(problem) }
        guard step != 0 else { throw .failed("a slice has a step of 0") }
        switch value {
        case .text(let text):
            let places = Self.places(of: text.count, start, stop, step: step ?? 1)
            if step ?? 1 == 1 {
                try spendText(places.count)
                return .text(text[places.first..<places.first + places.count])
            }
            try spend(places.count)
            var result = JinjaText()
            result.isMarkup = text.isMarkup
            for index in 0..<places.count { result.append(text.scalars[places.first + index * (step ?? 1)]) }
            return .text(text.replaced(by: result.scalars))
        case .list(let list): return try self.list(slice(list.elements, start, stop, step: step ?? 1))
        case .tuple(let list): return try tuple(slice(list.elements, start, stop, step: step ?? 1))
        case .range(let range):
            let step = step ?? 1
            let places = Self.places(of: range.count, start, stop, step: step)
            let (scaled, overflow) = range.step.multipliedReportingOverflow(by: step)
            if overflow { throw .failed("a slice of a range has too large a step") }
            let first = range.start + places.first * range.step
            let end = first.addingReportingOverflow(places.count * scaled)
            if end.overflow { throw .failed("a slice of a range has too large a step") }
            return .range(JinjaRange(start: first, stop: end.partialValue, step: scaled, count: places.count))
        default: throw .failed("a slice of \(value.kind) is asked for")
        }
    }

    private func slice(
        _ elements: [JinjaValue], _ start: Int?, _ stop: Int?, step: Int
    ) -> [JinjaValue] {
        let places = Self.places(of: elements.count, start, stop, step: step)
        if step == 1 { return Array(elements[places.first..<places.first + places.count]) }
        return (0..<places.count).map { elements[places.first + $0 * step] }
    }

    /// The first place and the number of places that a slice has in `count` elements.
    static func places(of count: Int, _ start: Int?, _ stop: Int?, step: Int) -> (first: Int, count: Int) {
        func clamped(_ bound: Int?, _ standard: Int, _ lowest: Int, _ highest: Int) -> Int {
            guard let bound else { return standard }
            return min(max(bound < 0 ? bound + count : bound, lowest), highest)
        }
        if step > 0 {
            let first = clamped(start, 0, 0, count)
            let last = clamped(stop, count, 0, count)
            return first < last ? (first, (last - first - 1) / step + 1) : (first, 0)
        }
        let first = clamped(start, count - 1, -1, count - 1)
        let last = clamped(stop, -1, -1, count - 1)
        return first > last ? (first, (first - last - 1) / Int(clamping: step.magnitude) + 1) : (max(first, 0), 0)
    }
}
