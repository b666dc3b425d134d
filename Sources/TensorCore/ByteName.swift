/// A name as the bytes of its UTF-8. Names of tensors, modules, files and members of JSON objects are told apart so;
/// Swift's strings are equal where Unicode calls them canonically equivalent, so that "é" composed and "é" decomposed,
/// which are two names to every other program, would be one.
package struct ByteName: Hashable, Comparable, Sendable {
    /// The name.
    package let text: String

    /// The name of these bytes.
    package init(_ text: String) { self.text = text }

    package static func == (left: ByteName, right: ByteName) -> Bool { left.text.hasSameBytes(as: right.text) }

    package static func < (left: ByteName, right: ByteName) -> Bool {
        left.text.utf8.lexicographicallyPrecedes(right.text.utf8)
    }

    package func hash(into hasher: inout Hasher) {
        var text = text
        text.withUTF8 { hasher.combine(bytes: UnsafeRawBufferPointer($0)) }
    }
}

extension StringProtocol {
    /// Whether two names are the same: the bytes, where `==` would take canonically equivalent ones for the same.
    package func hasSameBytes(as other: some StringProtocol) -> Bool {
        // Strings of files are contiguous UTF-8, which is compared as memory.
        let outcome = utf8.withContiguousStorageIfAvailable { left in
            other.utf8.withContiguousStorageIfAvailable { left.elementsEqual($0) }
        }
        return (outcome ?? nil) ?? utf8.elementsEqual(other.utf8)
    }

    /// Whether the name ends in the bytes of `ending`.
    package func endsInBytes(of ending: some StringProtocol) -> Bool {
        utf8.count >= ending.utf8.count && utf8.suffix(ending.utf8.count).elementsEqual(ending.utf8)
    }
}

/// Values by name, names being bytes.
package struct NameTable<Value> {
    private var entries: [ByteName: Value] = [:]

    /// No entries.
    package init() {}

    /// A value for each name; a name that comes twice is a programmer's mistake.
    package init(uniqueKeysWithValues pairs: some Sequence<(String, Value)>) {
        entries = Dictionary(uniqueKeysWithValues: pairs.lazy.map { (ByteName($0.0), $0.1) })
    }

    /// A value for each name; `combine` makes one of two.
    package init(
        _ pairs: some Sequence<(String, Value)>, uniquingKeysWith combine: (Value, Value) throws -> Value
    ) rethrows {
        entries = try Dictionary(pairs.lazy.map { (ByteName($0.0), $0.1) }, uniquingKeysWith: combine)
    }

    /// The elements by the name that `name` gives each, in their order.
    package init<Element>(
        grouping elements: some Sequence<Element>, by name: (Element) throws -> String
    ) rethrows where Value == [Element] {
        entries = try Dictionary(grouping: elements) { ByteName(try name($0)) }
    }

    /// The value of `name`.
    package subscript(name: String) -> Value? {
        get { entries[ByteName(name)] }
        set { entries[ByteName(name)] = newValue }
    }

    /// The value of `name`, or a standard one.
    package subscript(name: String, default standard: @autoclosure () -> Value) -> Value {
        get { entries[ByteName(name), default: standard()] }
        _modify { yield &entries[ByteName(name), default: standard()] }
    }

    /// Gives a name its value; what it had before.
    @discardableResult
    package mutating func updateValue(_ value: Value, forKey name: String) -> Value? {
        entries.updateValue(value, forKey: ByteName(name))
    }

    /// Takes a name out; what it had.
    @discardableResult
    package mutating func removeValue(forKey name: String) -> Value? { entries.removeValue(forKey: ByteName(name)) }

    /// Makes room for so many.
    package mutating func reserveCapacity(_ count: Int) { entries.reserveCapacity(count) }

    package var count: Int { entries.count }
    package var isEmpty: Bool { entries.isEmpty }
    /// The names, in no order.
    package var keys: LazyMapSequence<Dictionary<ByteName, Value>.Keys, String> { entries.keys.lazy.map(\.text) }
    /// The values, in no order.
    package var values: Dictionary<ByteName, Value>.Values { entries.values }

    /// Those that `isKept` takes.
    package func filter(_ isKept: ((key: String, value: Value)) throws -> Bool) rethrows -> NameTable {
        var table = NameTable()
        table.entries = try entries.filter { try isKept((key: $0.key.text, value: $0.value)) }
        return table
    }

    /// Each value changed by `change`.
    package func mapValues<Other>(_ change: (Value) throws -> Other) rethrows -> NameTable<Other> {
        var table = NameTable<Other>()
        table.entries = try entries.mapValues(change)
        return table
    }
}

extension NameTable: Sequence {
    package func makeIterator() -> some IteratorProtocol<(key: String, value: Value)> {
        entries.lazy.map { (key: $0.key.text, value: $0.value) }.makeIterator()
    }
}

extension NameTable: Sendable where Value: Sendable {}
extension NameTable: Equatable where Value: Equatable {}
extension NameTable: ExpressibleByDictionaryLiteral {
    package init(dictionaryLiteral elements: (String, Value)...) { self.init(uniqueKeysWithValues: elements) }
}

/// A set of names, names being bytes.
package struct NameSet: Sendable, Equatable, Sequence, ExpressibleByArrayLiteral {
    private var names: Set<ByteName> = []

    /// No names.
    package init() {}

    /// These names.
    package init(_ names: some Sequence<String>) { self.names = Set(names.lazy.map(ByteName.init)) }

    package init(arrayLiteral elements: String...) { self.init(elements) }

    package var count: Int { names.count }
    package var isEmpty: Bool { names.isEmpty }

    package func contains(_ name: String) -> Bool { names.contains(ByteName(name)) }

    /// Puts a name in; whether it was not there.
    @discardableResult
    package mutating func insert(_ name: String) -> (inserted: Bool, memberAfterInsert: String) {
        let outcome = names.insert(ByteName(name))
        return (outcome.inserted, outcome.memberAfterInsert.text)
    }

    /// Takes a name out; nil where it was not there.
    @discardableResult
    package mutating func remove(_ name: String) -> String? { names.remove(ByteName(name))?.text }

    package mutating func formUnion(_ others: some Sequence<String>) { names.formUnion(others.lazy.map(ByteName.init)) }
    package func union(_ others: some Sequence<String>) -> NameSet {
        var union = self
        union.formUnion(others)
        return union
    }
    package func isDisjoint(with others: some Sequence<String>) -> Bool {
        names.isDisjoint(with: others.lazy.map(ByteName.init))
    }
    package func isSubset(of other: NameSet) -> Bool { names.isSubset(of: other.names) }
    package func isSuperset(of other: NameSet) -> Bool { names.isSuperset(of: other.names) }
    package func subtracting(_ others: some Sequence<String>) -> NameSet {
        var rest = NameSet()
        rest.names = names.subtracting(others.lazy.map(ByteName.init))
        return rest
    }
    package func intersection(_ other: NameSet) -> NameSet {
        var common = NameSet()
        common.names = names.intersection(other.names)
        return common
    }

    /// The names in the order of their bytes.
    package func sorted() -> [String] { names.sorted().map(\.text) }

    package func makeIterator() -> some IteratorProtocol<String> { names.lazy.map(\.text).makeIterator() }
}
