import CheckpointIO
import Evaluation
import TestSupport
import Testing

/// Measures of classes and numbers against scikit-learn's and scipy's (`Tests/Scripts/make_metric_fixtures.py`).
@Suite struct SequenceMetricsTests {
    /// Sums are taken in another order.
    private let tolerance = 1e-12

    @Test func everyMeasureIsScikitLearnsAndScipys() throws {
        let file = try readSmallFile(fixture("metrics/metrics.json"), limit: 1 << 20)
        let cases = try #require(try JSONValue.parse(file).arrayValue)
        #expect(cases.count == 20)
        for (index, value) in cases.enumerated() {
            let classCount = try #require(value["classes"]?.intValue)
            let labels = (value["labels"]?.arrayValue ?? []).compactMap(\.doubleValue)
            let predicted = (value["predicted"]?.arrayValue ?? []).compactMap(\.doubleValue)
            #expect(labels.count == predicted.count && !labels.isEmpty)
            var counts = ConfusionCounts(classCount: classCount)
            if classCount > 1 {
                for (label, guess) in zip(labels, predicted) { counts.add(label: Int(label), predicted: Int(guess)) }
            }
            for (name, expected) in try #require(value["values"]?.objectValue).members {
                let metric = try #require(SequenceMetric(rawValue: name))
                let found: Double? =
                    switch metric {
                    case .pearson: Correlation.pearson(labels, predicted)
                    case .spearman: Correlation.spearman(labels, predicted)
                    default: counts.value(metric)
                    }
                guard let expected = expected.doubleValue else {
                    #expect(found == nil, "case \(index), \(name)")
                    continue
                }
                let value = try #require(found, "case \(index), \(name)")
                #expect(abs(value - expected) <= tolerance, "case \(index), \(name): \(value), \(expected)")
            }
        }
    }

    @Test func nothingIsMeasuredOfNothing() {
        let counts = ConfusionCounts(classCount: 2)
        for metric in SequenceMetric.all(classCount: 2) { #expect(counts.value(metric) == nil) }
        #expect(Correlation.pearson([], []) == nil && Correlation.spearman([1], [1]) == nil)
        #expect(Correlation.pearson([1, .nan, 2], [1, 2, 3]) == nil)
        #expect(Correlation.spearman([1, .nan, 2], [1, 2, 3]) == nil)
    }

    @Test func aTaskHasItsUsualMeasures() {
        #expect(SequenceMetric.all(classCount: 1).map(\.title) == ["Pearson", "Spearman"])
        #expect(SequenceMetric.all(classCount: 2).map(\.title) == ["accuracy", "F1", "Matthews"])
        #expect(SequenceMetric.all(classCount: 3).map(\.title) == ["accuracy", "macro F1", "Matthews"])
    }
}
