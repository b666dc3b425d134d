/// How well the classes or numbers that a model gives agree with those of the records.
package enum SequenceMetric: String, Sendable, CaseIterable {
    /// The share of records that get their class.
    case accuracy
    /// F1 of class 1 where there are two classes.
    case f1
    /// The mean of the F1 of all classes that occur.
    case macroF1 = "macro_f1"
    /// Matthews' correlation of classes, its generalization to several (Gorodkin, "Comparing two K-category assignments
    /// by a K-category correlation coefficient", 2004).
    case matthews
    /// Pearson's correlation of numbers.
    case pearson
    /// Pearson's correlation of their ranks, equals sharing their mean rank (Spearman's).
    case spearman

    /// Those of a task with so many classes, 1 for numbers; the first is the one that a best checkpoint is told by.
    package static func all(classCount: Int) -> [SequenceMetric] {
        switch classCount {
        case 1: [.pearson, .spearman]
        case 2: [.accuracy, .f1, .matthews]
        default: [.accuracy, .macroF1, .matthews]
        }
    }

    /// What it is called where it is shown.
    package var title: String {
        switch self {
        case .accuracy: "accuracy"
        case .f1: "F1"
        case .macroF1: "macro F1"
        case .matthews: "Matthews"
        case .pearson: "Pearson"
        case .spearman: "Spearman"
        }
    }

    /// Why it may have no value, for messages.
    package static let undefinedReason = "not defined where all predictions, or all labels, are equal"
}

/// Counts of what was predicted for records of each class, [classes, classes], and measures of them.
package struct ConfusionCounts: Sendable, Equatable {
    /// How many classes there are.
    package let classCount: Int
    private var counts: [Int]

    /// No record yet.
    package init(classCount: Int) {
        self.classCount = classCount
        counts = [Int](repeating: 0, count: classCount * classCount)
    }

    /// Counts a record of class `label` that was taken for `predicted`.
    package mutating func add(label: Int, predicted: Int) { counts[label * classCount + predicted] += 1 }

    /// Adds the counts of further records of the same classes.
    package mutating func add(_ other: ConfusionCounts) {
        for index in counts.indices { counts[index] += other.counts[index] }
    }

    /// Records.
    package var total: Int { counts.reduce(0, +) }
    /// Records that got their class.
    package var correct: Int { (0..<classCount).reduce(0) { $0 + count($1, $1) } }

    private func count(_ label: Int, _ predicted: Int) -> Int { counts[label * classCount + predicted] }
    private func labelled(_ label: Int) -> Int { (0..<classCount).reduce(0) { $0 + count(label, $1) } }
    private func predicted(_ label: Int) -> Int { (0..<classCount).reduce(0) { $0 + count($1, label) } }

    /// A measure of classes; nil without records. F1 of a class that neither occurs nor is predicted, and Matthews'
    /// correlation of what is all one class, are 0, as scikit-learn has them.
    package func value(_ metric: SequenceMetric) -> Double? {
        let total = total
        if total == 0 { return nil }
        switch metric {
        case .accuracy: return Double(correct) / Double(total)
        case .f1: return classCount > 1 ? f1(of: 1) : nil
        case .macroF1:
            let present = (0..<classCount).filter { labelled($0) + predicted($0) > 0 }
            return present.reduce(0) { $0 + f1(of: $1) } / Double(present.count)
        case .matthews: return matthews(Double(total))
        case .pearson, .spearman: return nil
        }
    }

    private func f1(of label: Int) -> Double {
        let sum = labelled(label) + predicted(label)
        return sum == 0 ? 0 : 2 * Double(count(label, label)) / Double(sum)
    }

    private func matthews(_ total: Double) -> Double {
        var (agreement, labels, predictions) = (Double(correct) * total, total * total, total * total)
        for label in 0..<classCount {
            let (labelled, predicted) = (Double(labelled(label)), Double(predicted(label)))
            agreement -= labelled * predicted
            labels -= labelled * labelled
            predictions -= predicted * predicted
        }
        let product = labels * predictions
        return product == 0 ? 0 : agreement / product.squareRoot()
    }
}

/// Correlations of numbers, in double.
package enum Correlation {
    /// Pearson's coefficient, in -1...1; nil where either side has one value only, or one is no number.
    package static func pearson(_ first: [Double], _ second: [Double]) -> Double? {
        precondition(first.count == second.count, "pairs")
        guard first.count >= 2, first.contains(where: { $0 != first[0] }), second.contains(where: { $0 != second[0] })
        else { return nil }
        func centered(_ values: [Double]) -> [Double] {
            let mean = values.reduce(0, +) / Double(values.count)
            let differences = values.map { $0 - mean }
            let largest = differences.reduce(0) { max($0, abs($1)) }
            return differences.map { $0 / largest }
        }
        let (left, right) = (centered(first), centered(second))
        let norm = (left.reduce(0) { $0 + $1 * $1 }).squareRoot() * (right.reduce(0) { $0 + $1 * $1 }).squareRoot()
        let value = zip(left, right).reduce(0) { $0 + $1.0 * $1.1 } / norm
        return value.isNaN ? nil : min(max(value, -1), 1)
    }

    /// Spearman's coefficient; nil where `pearson` is of the ranks, and where a value is no number.
    package static func spearman(_ first: [Double], _ second: [Double]) -> Double? {
        if first.contains(where: \.isNaN) || second.contains(where: \.isNaN) { return nil }
        return pearson(ranks(of: first), ranks(of: second))
    }

    /// Each value's place in order from 1, the mean place of its equals.
    static func ranks(of values: [Double]) -> [Double] {
        let order = values.indices.sorted { values[$0] < values[$1] }
        var ranks = [Double](repeating: 0, count: values.count)
        var start = 0
        while start < order.count {
            var end = start + 1
            while end < order.count, values[order[end]] == values[order[start]] { end += 1 }
            for place in start..<end { ranks[order[place]] = Double(start + end + 1) / 2 }
            start = end
        }
        return ranks
    }
}
