/// Filters that compare elements.
extension JinjaRun {
    func orderingFilter(_ name: String, _ value: JinjaValue, _ call: JinjaCall) throws(JinjaError) -> JinjaValue {
        switch name {
        case "dictsort": return try sortedMembers(value, call)
        case "sort":
            let values = try bind(call, ["reverse", "case_sensitive", "attribute"], of: name)
            let getters = try sortGetters(values[2])
            let isSensitive = values[1]?.isTrue ?? false
            let sorted = try sorted(elements(of: value), reversed: values[0]?.isTrue ?? false) {
                (element) throws(JinjaError) in
                var keys: [JinjaValue] = []
                for getter in getters { keys.append(Self.key(try getter(element), isSensitive: isSensitive)) }
                return .list(try JinjaList(keys))
            }
            return try list(sorted)
        case "groupby": return try groups(value, call)
        case "unique": return try unique(value, call)
        default: return try extreme(name, value, call)
        }
    }

    /// What a value is compared as: texts in small letters, where capitals do not count.
    private static func key(_ value: JinjaValue, isSensitive: Bool) -> JinjaValue {
        guard !isSensitive, case .text(let text) = value else { return value }
        return .text(JinjaLetters.changed(text, "lower"))
    }

    /// Sorts by a key, elements with equal keys in their order. Throws where keys have no order.
    func sorted(
        _ elements: [JinjaValue], reversed: Bool, by key: (JinjaValue) throws(JinjaError) -> JinjaValue
    ) throws(JinjaError) -> [JinjaValue] {
        var keys: [JinjaValue] = []
        for element in elements { keys.append(try key(element)) }
        var order = Array(elements.indices)
        // Merging, as the standard sort may not be stable, and cannot tell an error's type.
        var width = 1
        while width < order.count {
            var merged: [Int] = []
            merged.reserveCapacity(order.count)
            for start in stride(from: 0, to: order.count, by: 2 * width) {
                let middle = min(start + width, order.count)
                let end = min(start + 2 * width, order.count)
                var (left, right) = (start, middle)
                while left < middle, right < end {
                    try spendComparing(keys[order[left]], keys[order[right]])
                    let isBefore =
                        reversed
                        ? try keys[order[left]].isLess(than: keys[order[right]])
                        : try keys[order[right]].isLess(than: keys[order[left]])
                    merged.append(isBefore ? order[right] : order[left])
                    if isBefore { right += 1 } else { left += 1 }
                }
                merged += order[left..<middle]
                merged += order[right..<end]
            }
            order = merged
            width *= 2
        }
        return order.map { elements[$0] }
    }

    private func sortGetters(
        _ attribute: JinjaValue?
    ) throws(JinjaError) -> [(JinjaValue) throws(JinjaError) -> JinjaValue] {
        guard case .text(let text) = attribute else { return [try attributeGetter(attribute)] }
        var getters: [(JinjaValue) throws(JinjaError) -> JinjaValue] = []
        for part in JinjaRun.parts(of: text, at: [","], limit: .max) {
            getters.append(try attributeGetter(.text(part)))
        }
        return getters
    }

    private func sortedMembers(_ value: JinjaValue, _ call: JinjaCall) throws(JinjaError) -> JinjaValue {
        let values = try bind(call, ["case_sensitive", "by", "reverse"], of: "dictsort")
        let by = try text(values[1], of: "dictsort")?.string ?? "key"
        guard by == "key" || by == "value" else { throw .failed("'dictsort' sorts by '\(by)'") }
        guard case .dictionary(let dictionary) = value else { throw .failed("'dictsort' sorts \(value.kind)") }
        let isSensitive = values[0]?.isTrue ?? false
        let sorted = try sorted(
            elements(of: .view(JinjaView(dictionary, .items))), reversed: values[2]?.isTrue ?? false
        ) { (pair) throws(JinjaError) in
            guard case .tuple(let pair) = pair else { return .none }
            return Self.key(pair.elements[by == "key" ? 0 : 1], isSensitive: isSensitive)
        }
        return try list(sorted)
    }

    private func groups(_ value: JinjaValue, _ call: JinjaCall) throws(JinjaError) -> JinjaValue {
        let values = try bind(call, ["attribute", "default", "case_sensitive"], required: 1, of: "groupby")
        let getter = try attributeGetter(values[0], standard: JinjaValue.given(values[1]))
        let isSensitive = values[2]?.isTrue ?? false
        let key: (JinjaValue) throws(JinjaError) -> JinjaValue = { (element) throws(JinjaError) in
            Self.key(try getter(element), isSensitive: isSensitive)
        }
        var groups: [(key: JinjaValue, elements: [JinjaValue])] = []
        for element in try sorted(elements(of: value), reversed: false, by: key) {
            let elementKey = try key(element)
            if let last = groups.last, last.key.equals(elementKey) {
                groups[groups.count - 1].elements.append(element)
            } else {
                groups.append((elementKey, [element]))
            }
        }
        var tuples: [JinjaValue] = []
        for group in groups {
            // The name of a group is as its first element has it.
            let name = try getter(group.elements[0])
            tuples.append(.tuple(try JinjaList([name, list(group.elements)], isGroup: true)))
        }
        return try list(tuples)
    }

    private func unique(_ value: JinjaValue, _ call: JinjaCall) throws(JinjaError) -> JinjaValue {
        let values = try bind(call, ["case_sensitive", "attribute"], of: "unique")
        let getter = try attributeGetter(values[1])
        let isSensitive = values[0]?.isTrue ?? false
        let source = try iterate(value)
        var seen: Set<JinjaKey> = []
        return try makeIterator(over: value) { [self] () throws(JinjaError) in
            while let element = try source.next() {
                try spend(1)
                let value = Self.key(try getter(element), isSensitive: isSensitive)
                guard let key = try key(value) else { throw .failed("'unique' meets \(value.kind)") }
                if seen.insert(key).inserted { return element }
            }
            return nil
        }
    }

    private func extreme(_ name: String, _ value: JinjaValue, _ call: JinjaCall) throws(JinjaError) -> JinjaValue {
        let values = try bind(call, ["case_sensitive", "attribute"], of: name)
        let getter = try attributeGetter(values[1])
        let isSensitive = values[0]?.isTrue ?? false
        let source = try iterate(value)
        guard var best = try source.next() else { return .undefined("no aggregated item, the sequence was empty") }
        var bestKey = Self.key(try getter(best), isSensitive: isSensitive)
        while let element = try source.next() {
            try spend(1)
            let key = Self.key(try getter(element), isSensitive: isSensitive)
            if name == "min" ? try key.isLess(than: bestKey) : try bestKey.isLess(than: key) {
                (best, bestKey) = (element, key)
            }
        }
        return best
    }
}
