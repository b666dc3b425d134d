import Testing

@testable import Data

struct DataOrderTests {
    private func draw(_ count: Int, from order: inout DataOrder) -> [Int] {
        (0..<count).map { _ in order.next() }
    }

    @Test func everyEpochMeetsEachExampleOnce() throws {
        var order = try #require(DataOrder(count: 50, seed: 3))
        let first = draw(50, from: &order)
        let second = draw(50, from: &order)
        #expect(first.sorted() == Array(0..<50))
        #expect(second.sorted() == Array(0..<50))
        #expect(first != second)
        #expect(first != Array(0..<50))
        #expect(order.position == DataOrder.Position(epoch: 2, index: 0))
    }

    @Test func sameSeedGivesTheSameOrderAndAnotherAnother() throws {
        var one = try #require(DataOrder(count: 30, seed: 7))
        var same = try #require(DataOrder(count: 30, seed: 7))
        var other = try #require(DataOrder(count: 30, seed: 8))
        let drawn = draw(90, from: &one)
        #expect(drawn == draw(90, from: &same))
        #expect(drawn != draw(90, from: &other))
    }

    /// Runs saved on another day must meet the same examples: the order is part of what a seed promises.
    @Test func orderOfASeedStaysWhatItIs() throws {
        var order = try #require(DataOrder(count: 8, seed: 42))
        #expect(draw(16, from: &order) == [2, 3, 1, 5, 0, 4, 6, 7, 3, 2, 0, 6, 5, 1, 7, 4])
    }

    @Test(arguments: [0, 1, 13, 29, 30, 31, 59, 60, 75])
    func resumedOrderGoesOnWhereItStopped(stop: Int) throws {
        var whole = try #require(DataOrder(count: 30, seed: 11))
        let expected = draw(100, from: &whole)
        var stopped = try #require(DataOrder(count: 30, seed: 11))
        let before = draw(stop, from: &stopped)
        var resumed = try #require(DataOrder(count: 30, seed: 11, position: stopped.position))
        #expect(before + draw(100 - stop, from: &resumed) == expected)
    }

    @Test func withoutASeedTheOrderIsThatOfTheFile() throws {
        var order = try #require(DataOrder(count: 4, seed: nil))
        #expect(draw(9, from: &order) == [0, 1, 2, 3, 0, 1, 2, 3, 0])
    }

    @Test func nextInEpochStopsAtItsEnd() throws {
        var order = try #require(DataOrder(count: 5, seed: nil))
        #expect(order.nextInEpoch(atMost: 3) == [0, 1, 2])
        #expect(order.remainingInEpoch == 2)
        #expect(order.nextInEpoch(atMost: 3) == [3, 4])
        #expect(order.position == DataOrder.Position(epoch: 1, index: 0))
        #expect(order.nextInEpoch(atMost: 3) == [0, 1, 2])
    }

    @Test func positionOutsideOfTheDataIsRefused() {
        #expect(DataOrder(count: 5, seed: 1, position: .init(epoch: 0, index: 5)) == nil)
        #expect(DataOrder(count: 5, seed: 1, position: .init(epoch: 0, index: -1)) == nil)
        #expect(DataOrder(count: 5, seed: 1, position: .init(epoch: -1, index: 0)) == nil)
    }

    @Test func orderOfOneExampleIsThatExample() throws {
        var order = try #require(DataOrder(count: 1, seed: 9))
        #expect(draw(3, from: &order) == [0, 0, 0])
        #expect(order.position.epoch == 3)
    }
}
