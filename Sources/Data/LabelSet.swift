/// The classes of a task, by name and in order: what a classifier's outputs stand for.
package struct LabelSet: Sendable, Equatable {
    /// The names, the first of class 0; at least two, none twice.
    package let names: [String]

    /// Classes of these names; nil where they are fewer than two or one stands twice.
    package init?(names: [String]) {
        guard names.count >= 2, !names.contains(where: \.isEmpty) else { return nil }
        for (index, name) in names.enumerated() where names[..<index].contains(where: name.hasSameBytes(as:)) {
            return nil
        }
        self.names = names
    }

    /// The classes that records have, in the order in which `datasets` sorts them: numbers by value, names by their
    /// characters.
    ///
    /// - Throws: `noLabel` for a record without a label, `fewLabels` where they all have the same, and for more than
    ///   `mostClasses`.
    package init(of records: [LabelledRecord], file: String) throws(DataError) {
        var found: [String] = []
        var seen: Set<[UInt8]> = []
        var areNumbers = true
        for record in records {
            guard let label = record.label else { throw .noLabel(record.place) }
            if case .name = label { areNumbers = false }
            if seen.insert(Array(label.text.utf8)).inserted { found.append(label.text) }
            guard found.count <= Self.mostClasses else { throw .manyLabels(file: file, count: Self.mostClasses) }
        }
        guard found.count >= 2 else { throw .fewLabels(file: file, only: found.first) }
        names =
            areNumbers
            ? found.sorted { (Double($0) ?? 0) < (Double($1) ?? 0) }
            : found.sorted { $0.unicodeScalars.lexicographicallyPrecedes($1.unicodeScalars) }
    }

    /// Classes that are found in data at most: more are surely numbers to be predicted.
    package static let mostClasses = 1000

    /// The class of a record: by its name, else by its number where that is one.
    ///
    /// - Throws: `noLabel`, `unknownLabel`.
    package func index(of record: LabelledRecord) throws(DataError) -> Int32 {
        guard let label = record.label else { throw .noLabel(record.place) }
        let text = label.text
        if let index = names.firstIndex(where: text.hasSameBytes(as:)) { return Int32(index) }
        if case .number(let digits) = label, let number = Double(digits), let whole = Int32(exactly: number) {
            // 1.0 is the class called 1; a class without a number for a name is meant by its place.
            if let index = names.firstIndex(of: String(whole)) { return Int32(index) }
            if names.indices.contains(Int(whole)), !names.contains(where: { Double($0) != nil }) { return whole }
        }
        throw .unknownLabel(record.place, label: text, known: names)
    }
}

extension LabelledRecord {
    /// The number that the record's label is.
    ///
    /// - Throws: `noLabel`, `labelNoNumber`.
    package func number() throws(DataError) -> Float {
        guard let label else { throw .noLabel(place) }
        guard let number = Float(label.text), number.isFinite else { throw .labelNoNumber(place, label: label.text) }
        return number
    }
}
